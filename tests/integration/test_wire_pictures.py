"""Edits, reference images, refusals and ComfyUI workflows in whole runs over real sockets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.core.errors import GemsConfigError
from gems.core.messages import TaskInput
from gems.core.profiles import DrawingOptions, Profile
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.evals.loopback import MARKER, ChatServer, ImageServer, Loopback, brain_of
from gems.evals.loopback.comfyui import LoopbackComfyUI
from gems.evals.loopback.log import Entry
from gems.evals.loopback.pictures import Wish, flat
from gems.evals.loopback.wire import Reply, Request
from gems.graph import OwnServices, open_graph

WORKFLOWS = Path(__file__).parents[1] / "workflows"
EDITOR = "Qwen-Image-Edit-2509"


class Easel:
    """Paints, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []

    def __call__(self, wish: Wish) -> bytes:
        self.wishes.append(wish)
        return flat(wish)


class NoEdits:
    """A server that only draws."""

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        return Reply(404, b'{"detail":"Not Found"}') if request.path == "/v1/images/edits" else None


def refine_with(action: str, prompt: str) -> Callable[[TaskInput], dict[str, Any]]:
    return lambda _: {"diagnosis": "the dog is blue", "actions": [{"action": action, "prompt": prompt}]}


def settings(home: Path, url: str, images: str = f"openai:{EDITOR}", **drawing: Any) -> Settings:
    profile = Profile(
        mllm="openai:loopback",
        mllm_base_url=f"{url}/v1",
        images=images,
        images_base_url=f"{url}/v1",
        drawing=DrawingOptions(**drawing),
        size="64x64",
        max_rounds=3,
    )
    return Settings(home=home, profile="wire", profiles={"wire": profile}, folder=WORKFLOWS)


async def run(settings: Settings, references: list[bytes] = [], prompt: str = "my red dog") -> GemsState:  # noqa: B006
    services = OwnServices(settings)
    kept = [await services.artifacts.put(content) for content in references]
    config = RunnableConfig(configurable={"thread_id": "t"})
    given: Any = {"prompt": prompt, "references": kept}
    async with open_graph(settings, services=services) as graph:
        await graph.ainvoke(given, config, context={"seed": 5})  # type: ignore[arg-type]
        return (await graph.aget_state(config)).values  # type: ignore[return-value]


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def colour_of(content: bytes) -> Any:
    return Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))


@pytest.mark.parametrize("flavour", ["vllm-omni", "sglang"])
async def test_an_edit_starts_from_the_best_picture_and_keeps_the_references(tmp_path: Path, flavour: Any) -> None:
    easel = Easel()
    chat = ChatServer(brain_of(rehearse(["+--", "+++"], refine=refine_with("edit", "make the dog red"))))
    with Loopback(chat, ImageServer(flavour, model=EDITOR, paint=easel)) as server:
        state = await run(settings(tmp_path, server.url, server=flavour), [png("red")])
    assert state["stop_reason"] == "satisfied"
    assert [it["action"] for it in state["attempts"]] == ["rewrite", "edit"]
    first, second = easel.wishes
    assert [colour_of(it) for it in first.sources] == [(255, 0, 0)]
    assert [colour_of(it) for it in second.sources] == [colour_of(flat(first)), (255, 0, 0)]
    assert (second.prompt, second.seed) == ("make the dog red", 6)


async def test_a_server_without_edits_is_learnt_and_the_run_goes_on(tmp_path: Path) -> None:
    chat = ChatServer(brain_of(rehearse(["+--", "+-+", "+++"], refine=refine_with("edit", "make the dog red"))))
    with Loopback(chat, NoEdits(), ImageServer("vllm-omni", model="plain")) as server:
        state = await run(settings(tmp_path, server.url, "openai:plain", edit=True))
    assert state["attempts"][1]["failure"] == "refused"
    assert "cannot edit" in state["attempts"][1]["error"]
    assert [it["action"] for it in state["attempts"]] == ["rewrite", "edit", "rewrite"]
    assert state["best"] in ("1.1", "3.1")


@pytest.mark.parametrize("candidates", [1, 2])
async def test_references_on_a_server_without_edits_stop_the_run_at_once(tmp_path: Path, candidates: int) -> None:
    with Loopback(
        ChatServer(brain_of(rehearse(["+++"]))), NoEdits(), ImageServer("vllm-omni", model="plain")
    ) as server:
        base = settings(tmp_path, server.url, "openai:plain", edit=True)
        profile = base.profiles["wire"].model_copy(update={"candidates": candidates})
        with pytest.raises(GemsConfigError, match="cannot follow reference images: choose another profile"):
            await run(base.model_copy(update={"profiles": {"wire": profile}}), [png("red")])
        assert not server.log.of("images")
        edits = [entry for entry in server.log.entries if entry.path.endswith("/images/edits")]
    assert len(edits) <= candidates


class ShortSighted:
    """A server that takes short prompts only."""

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        if request.path != "/v1/images/generations" or len(json.loads(request.body)["prompt"]) <= 10:
            return None
        told = {"message": "prompt is too long: at most 10 characters", "code": "string_above_max_length"}
        return Reply(400, json.dumps({"error": told}).encode())


async def test_a_prompt_that_is_too_long_goes_back_to_the_refiner(tmp_path: Path) -> None:
    chat = ChatServer(brain_of(rehearse(["+++"], refine=refine_with("rewrite", "a red dog"))))
    with Loopback(chat, ShortSighted(), ImageServer("vllm-omni", model="plain")) as server:
        state = await run(settings(tmp_path, server.url, "openai:plain"), prompt="my wonderful red dog")
        assert [entry.prompt for entry in server.log.of("images")] == ["a red dog"]
    assert state["stop_reason"] == "satisfied"
    assert [it.get("failure") for it in state["attempts"]] == ["refused", None]


async def test_a_refused_prompt_goes_back_to_the_refiner_and_is_not_sent_again(tmp_path: Path) -> None:
    chat_role = rehearse(
        ["+++"],
        write_prompts=lambda _: {"prompts": [f"a {MARKER} dog"]},
        refine=refine_with("rewrite", "a friendly dog"),
    )
    with Loopback(ChatServer(brain_of(chat_role)), ImageServer("openai", model="gpt-image-1-mini")) as server:
        profile = settings(tmp_path, server.url, "openai:gpt-image-1-mini", server="openai")
        large = profile.profiles["wire"].model_copy(update={"size": "1024x1024"})
        state = await run(profile.model_copy(update={"profiles": {"wire": large}}))
    assert state["stop_reason"] == "satisfied"
    assert [it.get("failure") for it in state["attempts"]] == ["refused", None]
    asked = [entry.prompt for entry in server.log.of("images")]
    assert asked == [f"a {MARKER} dog", "a friendly dog"]
    told = chat_role.asked("refine")[0].fields["latest"]
    assert "refused the prompt" in told["error"]
    assert state["usage"]["images"] == 1


@pytest.mark.parametrize("workflow", ["comfyui_text.json", "comfyui_edit.json"])
async def test_a_comfyui_workflow_draws_and_edits_in_a_run(tmp_path: Path, workflow: str) -> None:
    edits = workflow == "comfyui_edit.json"
    chat = ChatServer(brain_of(rehearse(["+--", "+++"], refine=refine_with("edit", "make the dog red"))))
    with Loopback(chat) as server:
        async with LoopbackComfyUI() as comfy:
            base = settings(tmp_path, server.url, f"comfyui:{workflow}")
            profile = base.profiles["wire"].model_copy(update={"images_base_url": comfy.url})
            state = await run(base.model_copy(update={"profiles": {"wire": profile}}))
    assert state["stop_reason"] == "satisfied"
    assert [it["action"] for it in state["attempts"]] == ["rewrite", "edit" if edits else "rewrite"]
    assert state["options"]["models"]["images"] == f"comfyui:{workflow}"
    assert state["usage"]["images"] == 2
