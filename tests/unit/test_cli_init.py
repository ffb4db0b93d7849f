"""`gems init`: what is found, what is offered, what is written, and that all of it loads."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gems.app.accelerators import find_gpu
from gems.app.cli import main
from gems.app.init_choices import chat_choices, image_choices, missing, real_images
from gems.app.init_command import refuse_to_overwrite, set_up
from gems.app.init_file import render, write
from gems.app.machine import (
    Addresses,
    FoundModel,
    FoundServer,
    Machine,
    find_packages,
    find_workflows,
    look_around,
)
from gems.core.errors import GemsConfigError
from gems.core.settings import Settings, load_settings

OLLAMA = FoundServer(
    "Ollama", "http://127.0.0.1:11434/v1", (FoundModel("llama3.2:3b", False), FoundModel("qwen2.5vl:7b", True))
)
VLLM = FoundServer("vLLM", "http://127.0.0.1:8000/v1", (FoundModel("my-own-model", None),))
DRAWING = FoundServer(
    "SGLang", "http://127.0.0.1:30000/v1", (FoundModel("Tongyi-MAI/Z-Image-Turbo", False, draws=True),)
)
OPENAI, ROUTER = "OPENAI_API_KEY", "OPENROUTER_API_KEY"
COMFY = {"comfyui": "http://127.0.0.1:8188", "workflows": ["flux.json"]}

MACHINES = {
    "bare": Machine(),
    "ollama": Machine(servers=[OLLAMA]),
    "unsure": Machine(servers=[VLLM]),
    "drawing": Machine(servers=[DRAWING]),
    "openai": Machine(keys=frozenset({OPENAI})),
    "router": Machine(keys=frozenset({ROUTER})),
    "router and drawing": Machine(servers=[DRAWING], keys=frozenset({ROUTER})),
    "comfyui and ollama": Machine(servers=[OLLAMA], **COMFY),  # type: ignore[arg-type]
    "everything": Machine(servers=[OLLAMA, VLLM, DRAWING], keys=frozenset({OPENAI, ROUTER}), **COMFY),  # type: ignore[arg-type]
}


def loaded(folder: Path, **environ: str) -> Settings:
    return load_settings(folder, {"GEMS_HOME": str(folder / "home"), **environ})


def first_of(machine: Machine) -> tuple[str, str]:
    chat = chat_choices(machine)[0]
    return chat.model, image_choices(machine, chat)[0].model


# What is chosen


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("bare", ("sketch", "sketch")),
        # Nothing real draws: the embedded engine belongs together.
        ("ollama", ("sketch", "sketch")),
        ("router", ("sketch", "sketch")),
        # Nothing real answers: nobody could judge real pictures.
        ("drawing", ("sketch", "sketch")),
        ("openai", ("openai:gpt-5-mini", "openai:gpt-image-1-mini")),
        ("router and drawing", ("openai:openai/gpt-5-mini", "openai:Tongyi-MAI/Z-Image-Turbo")),
        ("comfyui and ollama", ("openai:qwen2.5vl:7b", "comfyui:flux.json")),
        # What costs nothing and sees comes before what is paid.
        ("everything", ("openai:qwen2.5vl:7b", "openai:Tongyi-MAI/Z-Image-Turbo")),
    ],
)
def test_the_first_choices(name: str, models: tuple[str, str]) -> None:
    assert first_of(MACHINES[name]) == models


def test_the_embedded_engine_never_judges_real_pictures_and_is_always_there() -> None:
    for machine in MACHINES.values():
        chats = chat_choices(machine)
        assert sum(chat.is_embedded for chat in chats) == 1
        for chat in chats:
            images = image_choices(machine, chat)
            assert images[-1].is_embedded
            assert len(images) == (1 if chat.is_embedded else 1 + len(real_images(machine)))


def test_a_model_that_cannot_see_is_not_offered_and_one_that_may_not_comes_last() -> None:
    labels = [chat.label for chat in chat_choices(MACHINES["everything"])]
    assert not any("llama3.2" in label for label in labels)
    assert "if it can see pictures" in labels[-2]
    assert any("llama3.2:3b at http://127.0.0.1:11434/v1" in sentence for sentence in missing(MACHINES["ollama"]))


def test_it_says_what_is_missing() -> None:
    assert "OPENAI_API_KEY" in missing(MACHINES["bare"])[0]
    assert any("nothing real draws" in sentence for sentence in missing(MACHINES["ollama"]))
    assert any("nothing real answers" in sentence for sentence in missing(MACHINES["drawing"]))
    assert missing(MACHINES["openai"]) == []
    assert "Export (API)" in missing(Machine(comfyui="http://127.0.0.1:8188"))[0]


# What is written


def _all_files() -> list[tuple[str, str, str, str]]:
    found = {}
    for machine in MACHINES.values():
        for chat in chat_choices(machine):
            for images in image_choices(machine, chat):
                found[chat.model, images.model] = render(chat, images, date(2026, 11, 22)), chat.key or images.key
    return [(*models, *rest) for models, rest in found.items()]


@pytest.mark.parametrize(("chat", "images", "text", "key"), _all_files())
def test_every_file_loads_and_says_what_was_chosen(chat: str, images: str, text: str, key: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    settings = loaded(tmp_path, **{OPENAI: "sk-own", ROUTER: "sk-or"})
    profile = settings.resolve()
    assert (profile.name, profile.mllm, profile.images) == ("mine", chat, images)
    answers, draws = settings.chat(profile, "critic"), settings.images(profile)
    for endpoint in (answers, draws):
        # A key goes to its own service and nowhere else.
        sent = endpoint.api_key.get_secret_value() if endpoint.api_key else None
        host = endpoint.base_url or ("openai" if endpoint.provider == "openai" else "none")
        assert (
            sent == ("sk-or" if "openrouter" in host else "sk-own" if host == "openai" else None)
            or endpoint.provider == "sketch"
        )
    assert settings.is_paid(profile) == bool(key)
    if key:
        assert (profile.max_cost, profile.max_images, profile.max_calls) == (1.0, 8, 60)
        assert all(it.price is not None for it in (answers, draws) if it.is_paid)
    assert all(len(line) <= 125 for line in text.splitlines())
    assert "sk-" not in text


def test_combinations_are_many() -> None:
    assert len(_all_files()) >= 15


def test_an_old_file_is_kept_and_never_lost(tmp_path: Path) -> None:
    assert write(tmp_path, "one") is None
    assert write(tmp_path, "two") == tmp_path / "gems.toml.bak"
    assert write(tmp_path, "three") == tmp_path / "gems.toml.bak1"
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"gems.toml": "three", "gems.toml.bak": "one", "gems.toml.bak1": "two"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError, match="cannot write"):
        write(tmp_path / "nowhere", "text")


# The command


def run_set_up(folder: Path, machine: Machine, numbers: list[int] | None = None) -> str:
    out = io.StringIO()
    console = Console(file=out, width=400, markup=False, emoji=False, highlight=False)
    rest = list(numbers or [])
    set_up(folder, machine, console, ask=None if numbers is None else lambda _: rest.pop(0))
    assert rest == []
    return out.getvalue()


def test_two_questions_at_most(tmp_path: Path) -> None:
    said = run_set_up(tmp_path, MACHINES["everything"], [2, 3])
    assert said.count("?\n  1  ") == 2
    profile = loaded(tmp_path).resolve()
    assert (profile.mllm, profile.images) == ("openai:gpt-5-mini", "openai:gpt-image-1-mini")
    assert "gems doctor" in said
    assert "which cost money" in said


def test_no_question_where_nothing_is_to_choose(tmp_path: Path) -> None:
    run_set_up(tmp_path, MACHINES["bare"], [])
    # The embedded engine answers: it draws, too.
    run_set_up(tmp_path, MACHINES["everything"], [len(chat_choices(MACHINES["everything"]))])
    assert loaded(tmp_path).resolve().images == "sketch"


def test_a_real_chat_model_with_the_embedded_engine_is_explained(tmp_path: Path) -> None:
    said = run_set_up(tmp_path, MACHINES["ollama"], [2])
    profile = loaded(tmp_path).resolve()
    assert (profile.mllm, profile.images) == ("openai:qwen2.5vl:7b", "sketch")
    assert "refuses prompts outside its small vocabulary" in said


def test_what_wins_over_the_file_is_named(tmp_path: Path) -> None:
    assert "GEMS_PROFILE" in run_set_up(tmp_path, Machine(overriding=["GEMS_PROFILE"]))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def test_the_command_never_overwrites_unasked(tmp_path: Path) -> None:
    (tmp_path / "gems.toml").write_text("# mine\n", encoding="utf-8")
    result = call("--yes")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (tmp_path / "gems.toml").read_text(encoding="utf-8") == "# mine\n"
    with pytest.raises(GemsConfigError):
        refuse_to_overwrite(tmp_path, force=False)
    refuse_to_overwrite(tmp_path, force=True)


# What is found


def _answering(replies: dict[str, object]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        if url.endswith("/api/show"):
            url += "#" + json.loads(request.content)["model"]
        reply = replies.get(url)
        if reply is None:
            raise httpx.ConnectError("nobody there")
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)

    return httpx.MockTransport(answer)


async def test_servers_are_found_with_what_their_models_can_do(tmp_path: Path) -> None:
    replies: dict[str, object] = {
        "http://127.0.0.1:11434/api/tags": {
            "models": [
                {"name": "llama3.2:3b"},
                {"name": "gemma3:4b"},
                {"name": "nomic-embed-text"},
                {"name": "\x1b[2J"},
            ]
        },
        "http://127.0.0.1:11434/api/show#llama3.2:3b": {"capabilities": ["completion", "tools"]},
        "http://127.0.0.1:11434/api/show#gemma3:4b": {"capabilities": ["completion", "vision"]},
        "http://127.0.0.1:8000/v1/models": {"data": [{"id": "Qwen/Qwen3-VL-8B-Instruct"}, {"id": "x"}]},
        "http://127.0.0.1:30000/v1/models": {"data": [{"id": "Qwen/Qwen-Image-2512"}, {"id": 7}, "odd"]},
        "http://127.0.0.1:8080/v1/models": {
            "data": [{"id": "model.gguf"}],
            "models": [{"name": "model.gguf", "capabilities": ["completion", "multimodal"]}],
        },
        "http://127.0.0.1:1234/v1/models": httpx.Response(200, text="<html>"),
        "http://127.0.0.1:8188/system_stats": {"system": {"os": "posix"}},
    }
    (tmp_path / "flux.json").write_text('{"3": {"class_type": "KSampler", "inputs": {}}}', encoding="utf-8")
    machine = await look_around(tmp_path, Addresses(), {OPENAI: "sk-x"}, _answering(replies))
    assert {server.name: server.models for server in machine.servers} == {
        "Ollama": (FoundModel("llama3.2:3b", False), FoundModel("gemma3:4b", True)),
        "vLLM": (FoundModel("Qwen/Qwen3-VL-8B-Instruct", True), FoundModel("x", None)),
        "SGLang": (FoundModel("Qwen/Qwen-Image-2512", False, draws=True),),
        "llama.cpp": (FoundModel("model.gguf", True),),
    }
    assert machine.servers[0].base_url == "http://127.0.0.1:11434/v1"
    assert (machine.comfyui, machine.workflows) == ("http://127.0.0.1:8188", ["flux.json"])
    assert machine.keys == {OPENAI}
    assert first_of(machine) == ("openai:gemma3:4b", "openai:Qwen/Qwen-Image-2512")


async def test_an_image_server_of_our_own_is_known_by_what_it_says(tmp_path: Path) -> None:
    served = {"data": [{"id": "my-folder", "owned_by": "gems"}, {"id": "sd-turbo", "owned_by": "gems"}]}
    machine = await look_around(tmp_path, Addresses(), {}, _answering({"http://127.0.0.1:8000/v1/models": served}))
    models = (FoundModel("my-folder", False, draws=True), FoundModel("sd-turbo", False, draws=True))
    assert list(machine.servers) == [FoundServer("gems serve", "http://127.0.0.1:8000/v1", models)]


async def test_keys_are_found_in_the_folder_too_and_only_by_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'{ROUTER}=sk-or-secret\nGEMS_PROFILE=paper\nOPENAI_API_KEY=" "\n', encoding="utf-8")
    machine = await look_around(tmp_path, Addresses(), {}, _answering({}))
    assert (machine.keys, list(machine.overriding), list(machine.servers)) == ({ROUTER}, ["GEMS_PROFILE"], [])
    assert "secret" not in repr(machine)


def test_workflows_are_told_from_other_json(tmp_path: Path) -> None:
    files = {"api.json": {"1": {"class_type": "X"}}, "ui.json": {"nodes": []}, "list.json": [1], "empty.json": {}}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    assert find_workflows(tmp_path) == ["api.json"]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'NVIDIA H200, 143771'; echo 'NVIDIA L4, 23034'", "NVIDIA H200, 140 GiB, NVIDIA L4, 22 GiB"),
        ("echo 'NVIDIA GB10, [N/A]'", "NVIDIA GB10"),
        ("echo 'no devices were found'; exit 6", ""),
    ],
)
def test_the_gpu_is_read_off_the_driver(script: str, found: str, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    assert find_gpu(str(program)) == found
    assert find_gpu(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("2.9.0+cu128", "2.9.0+cu128 (CUDA build)"),
        ("2.9.0+cpu", "2.9.0+cpu (CPU build)"),
        ("2.9.0+rocm6.4", "2.9.0+rocm6.4 (ROCm build)"),
        ("2.9.0+xpu", "2.9.0+xpu (Intel GPU build)"),
        ("2.9.0", "2.9.0"),
    ],
)
def test_versions_are_told_without_loading(version: str, told: str) -> None:
    found = find_packages(lambda name: {"torch": version, "diffusers": "0.42.1"}.get(name))
    assert found == {"torch": told, "diffusers": "0.42.1"}


@pytest.mark.parametrize(
    ("name", "sees", "draws"),
    [
        ("qwen3-vl:8b", True, False),
        ("Qwen/Qwen2.5-VL-7B-Instruct", True, False),
        ("OpenGVLab/InternVL3-8B", True, False),
        ("google/gemma-3-12b-it", True, False),
        ("google/gemma-3-270m-it", None, False),
        ("mistralai/Pixtral-12B-2409", True, False),
        ("meta-llama/Llama-3.1-8B-Instruct", None, False),
        ("black-forest-labs/FLUX.2-klein-4B", False, True),
        ("stabilityai/sdxl-turbo", False, True),
        ("Qwen/Qwen-Image-Edit", False, True),
    ],
)
async def test_what_a_name_tells(name: str, sees: bool | None, draws: bool, tmp_path: Path) -> None:
    replies: dict[str, object] = {"http://127.0.0.1:8000/v1/models": {"data": [{"id": name}]}}
    machine = await look_around(tmp_path, Addresses(), {}, _answering(replies))
    assert machine.servers[0].models == (FoundModel(name, sees, draws),)
