"""ComfyUI's protocol over real sockets: a loopback server that sends what ComfyUI sends, in its order."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from gems.backends.images.comfyui import ComfyImages, Pace
from gems.backends.images.guarded import GuardedImages, image_gate
from gems.core.errors import BudgetSpent, GemsConfigError, ModelOutage
from gems.core.ports import Drawing, DrawRequest, Progress
from gems.core.profiles import DrawingOptions, Endpoint, Price
from gems.core.spending import Limits, Purses
from gems.evals.loopback.comfyui import LoopbackComfyUI

WORKFLOWS = Path(__file__).parents[1] / "workflows"
QUICK = Pace(poll=0.02, memory=0.01)
KEY = "sk-comfy-proxy-1234567890"


class Comfy(NamedTuple):
    inner: ComfyImages
    images: GuardedImages


Adapter = Callable[..., Comfy]


def request(prompt: str = "a red fox", seed: int = 7, **more: Any) -> DrawRequest:
    return DrawRequest(prompt, seed, more.pop("width", 64), more.pop("height", 48), **more)


@pytest.fixture
async def adapter() -> AsyncIterator[Adapter]:
    """Makes adapters behind their gate, and closes their connections."""
    made = []

    def make(url: str, workflow: str = "text", key: str | None = None, pace: Pace = QUICK, **drawing: Any) -> Comfy:
        endpoint = Endpoint(
            provider="comfyui",
            model=workflow if workflow.endswith(".json") else f"comfyui_{workflow}.json",
            base_url=url,
            api_key=SecretStr(key) if key else None,
            drawing=DrawingOptions(**({"retries": 0} | drawing)),
            price=Price(image=0.5),
        )
        inner = ComfyImages(endpoint, WORKFLOWS, pace)
        made.append(inner)
        return Comfy(inner, GuardedImages(inner, image_gate(endpoint.drawing), 0.5))

    yield make
    for images in made:
        await images.aclose()


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def size(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


async def until(happened: Any) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110  # what happens, happens in the server under test
            await asyncio.sleep(0.005)


@pytest.fixture(params=["loopback", "real"])
async def any_server(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The loopback, and the ComfyUI at COMFYUI_URL: what holds for both holds for the protocol."""
    if request.param == "real":
        if not (url := os.environ.get("COMFYUI_URL")):
            pytest.skip("set COMFYUI_URL to the address of a ComfyUI (no models needed) to drive the real one")
        yield url
        return
    async with LoopbackComfyUI() as server:
        yield server.url


async def test_a_workflow_without_models(adapter: Adapter, any_server: str) -> None:
    images = adapter(any_server, "plain", nodes={"prompt": "2.filename_prefix", "seed": "1.color"}).images
    red, blue, again = [(await images.generate(request("gems", seed))).png for seed in (0xFF0000, 0x0000FF, 0xFF0000)]
    pixels = [Image.open(io.BytesIO(it)).convert("RGB").getpixel((0, 0)) for it in (red, blue, again)]
    assert size(red) == (64, 48)
    assert pixels == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


async def test_an_uploaded_picture_comes_back(adapter: Adapter, any_server: str) -> None:
    images = adapter(any_server, "copy", nodes={"prompt": "2.filename_prefix"}).images
    copied = (await images.generate(request("gems", source=png("green")))).png
    image = Image.open(io.BytesIO(copied))
    assert image.size == (40, 24)
    assert image.convert("RGB").getpixel((0, 0)) == (0, 128, 0)


async def test_draws_with_progress_and_one_post(adapter: Adapter) -> None:
    steps: list[tuple[int, int]] = []
    async with LoopbackComfyUI() as server:
        drawing = await adapter(server.url).images.generate(request(), lambda done, most: steps.append((done, most)))
        assert server.asked("POST", "/prompt") == 1
        filled = server.history.popitem()[1]["prompt"][2]
    assert size(drawing.png) == (64, 48)
    assert drawing.cost == 0.5
    assert steps == [(step, 8) for step in range(1, 9)]
    assert filled["6"]["inputs"]["text"] == "a red fox"
    assert filled["7"]["inputs"]["text"] == "text, watermark"
    assert filled["3"]["inputs"]["seed"] == 7


async def test_prompt_seed_and_size_decide_the_picture(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        images = adapter(server.url).images
        asked = [request(), request(seed=8), request("a blue fox"), request()]
        first, seed, prompt, again = [(await images.generate(it)).png for it in asked]
        wide = await images.generate(request(width=128))
    assert first == again
    assert len({first, seed, prompt}) == 3
    assert size(wide.png) == (128, 48)


async def test_overrides_reach_the_sampler(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        images = adapter(server.url, steps=3, guidance_scale=2.5, negative_prompt="blurry").images
        await images.generate(request())
        filled = server.history.popitem()[1]["prompt"][2]
    assert filled["3"]["inputs"]["steps"] == 3
    assert filled["3"]["inputs"]["cfg"] == 2.5
    assert filled["7"]["inputs"]["text"] == "blurry"


async def test_a_cached_drawing_is_answered_from_the_history(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        images = adapter(server.url).images
        first, second = await images.generate(request()), await images.generate(request())
        cached = [
            fields for it in server.history.values() for kind, fields in it["status"]["messages"]
            if kind == "execution_cached"
        ]  # fmt: skip
        assert server.asked("POST", "/prompt") == 2
    assert first.png == second.png
    assert len(cached[1]["nodes"]) == 7


async def test_a_flux_graph_with_preview_output(adapter: Adapter) -> None:
    steps: list[tuple[int, int]] = []
    async with LoopbackComfyUI() as server:
        drawing = await adapter(server.url, "flux").images.generate(request(), lambda *it: steps.append(it))
    assert size(drawing.png) == (64, 48)
    assert steps == [(step, 4) for step in range(1, 5)]


async def test_edit_and_references_take_their_own_branches_and_upload_once(adapter: Adapter) -> None:
    red, blue = png("red"), png("blue")
    async with LoopbackComfyUI() as server:
        images = adapter(server.url, "edit").images
        plain = await images.generate(request())
        edited = [await images.generate(request(source=it)) for it in (red, blue, red)]
        followed = [await images.generate(request(references=(it,))) for it in (red, blue)]
        uploads = server.asked("POST", "/upload/image")
        ran = [sorted(it["outputs"]) for it in server.history.values()]
    assert uploads == 2
    assert edited[0].png == edited[2].png
    assert len({it.png for it in [plain, *edited, *followed]}) == 5
    assert size(edited[0].png) == (40, 24)
    assert ran == [["9"], ["24"], ["24"], ["24"], ["35"], ["35"]]


async def test_a_refused_workflow_names_the_node_and_the_reason(adapter: Adapter, tmp_path: Path) -> None:
    workflow = json.loads((WORKFLOWS / "comfyui_text.json").read_text(encoding="utf-8"))
    workflow["4"]["inputs"]["ckpt_name"] = "missing.safetensors"
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(workflow), encoding="utf-8")
    async with LoopbackComfyUI() as server:
        images = adapter(server.url, str(path)).images
        with pytest.raises(GemsConfigError, match=r"'Load Checkpoint' \(4\).*Value not in list.*missing.safetensors"):
            await images.generate(request())
        assert server.asked("POST", "/prompt") == 1
        assert server.asked("GET", "/queue") == 0


async def test_an_unknown_node_is_named(adapter: Adapter, tmp_path: Path) -> None:
    workflow = json.loads((WORKFLOWS / "comfyui_text.json").read_text(encoding="utf-8"))
    workflow["8"]["class_type"] = "FancyDecode"
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(workflow), encoding="utf-8")
    async with LoopbackComfyUI() as server:
        with pytest.raises(GemsConfigError, match="'VAE Decode' not found"):
            await adapter(server.url, str(path)).images.generate(request())


async def test_a_failing_node_is_an_outage_that_names_it(adapter: Adapter) -> None:
    async with LoopbackComfyUI(faults={0: "execution error"}) as server:
        with pytest.raises(ModelOutage, match=r"'KSampler' \(3\): RuntimeError: mat1") as caught:
            await adapter(server.url, retries=2).images.generate(request())
        assert caught.value.again == "never"
        assert server.asked("POST", "/prompt") == 1


async def test_out_of_memory_is_tried_again(adapter: Adapter) -> None:
    async with LoopbackComfyUI(faults={0: "out of memory"}) as server:
        drawing = await adapter(server.url, retries=1).images.generate(request())
        assert server.asked("POST", "/prompt") == 2
    assert size(drawing.png) == (64, 48)


@pytest.mark.parametrize("fault", ["dropped", "no websocket"])
async def test_without_its_websocket_the_drawing_is_still_found(adapter: Adapter, fault: Any) -> None:
    async with LoopbackComfyUI(step_seconds=0.02, faults={0: fault}) as server:
        drawing = await adapter(server.url).images.generate(request())
        assert server.asked("POST", "/prompt") == 1
        assert server.asked("GET", "/queue") > 0
    assert size(drawing.png) == (64, 48)


@pytest.mark.parametrize(("fault", "says"), [("no file", "no longer has"), ("no picture", "'Save Image'")])
async def test_a_picture_that_is_missing_is_no_reason_to_draw_again(adapter: Adapter, fault: Any, says: str) -> None:
    async with LoopbackComfyUI(faults={0: fault}) as server:
        with pytest.raises(ModelOutage, match=says) as caught:
            await adapter(server.url, retries=2).images.generate(request())
        assert caught.value.again == "never"
        assert server.asked("POST", "/prompt") == 1


async def test_a_page_in_place_of_the_picture(adapter: Adapter) -> None:
    async with LoopbackComfyUI(faults={0: "page"}) as server:
        with pytest.raises(ModelOutage, match="no whole picture"):
            await adapter(server.url).images.generate(request())


async def test_a_busy_server_is_asked_again_when_it_said(adapter: Adapter) -> None:
    async with LoopbackComfyUI(faults={0: "busy"}) as server:
        await adapter(server.url, retries=1).images.generate(request())
        assert server.asked("POST", "/prompt") == 2


async def test_an_image_that_is_not_taken_costs_nothing(adapter: Adapter) -> None:
    async with LoopbackComfyUI(faults={0: "no upload"}) as server:
        with pytest.raises(ModelOutage, match="disk full") as caught:
            await adapter(server.url, "edit").images.generate(request(source=png("red")))
        assert caught.value.again == "free"
        assert server.asked("POST", "/prompt") == 0


async def test_nobody_there_costs_nothing(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        url = server.url
    with pytest.raises(ModelOutage, match="no ComfyUI can be reached") as caught:
        await adapter(url).images.generate(request())
    assert caught.value.again == "free"


@pytest.mark.parametrize("old", [False, True])
async def test_cancelling_interrupts_what_runs(adapter: Adapter, old: bool) -> None:
    async with LoopbackComfyUI(step_seconds=0.05, old=old) as server:
        drawing = asyncio.create_task(adapter(server.url).images.generate(request()))
        await until(lambda: server.running is not None)
        drawing.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        assert time.monotonic() - started < 2.0
        await until(lambda: server.history)
        [entry] = server.history.values()
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


@pytest.mark.parametrize("old", [False, True])
async def test_cancelling_takes_only_its_own_out_of_the_queue(adapter: Adapter, old: bool) -> None:
    async with LoopbackComfyUI(step_seconds=0.05, old=old) as server:
        images = adapter(server.url).images
        first = asyncio.create_task(images.generate(request()))
        await until(lambda: server.running is not None)
        second = asyncio.create_task(images.generate(request(seed=8)))
        await until(lambda: server.pending)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not server.pending
        assert server.asked("POST", "/interrupt") == 0
        assert size((await first).png) == (64, 48)


async def test_cancelling_while_it_is_being_queued_leaves_nothing_behind(adapter: Adapter) -> None:
    async with LoopbackComfyUI(step_seconds=0.05, faults={1: "late"}) as server:
        images = adapter(server.url).images
        first = asyncio.create_task(images.generate(request()))
        await until(lambda: server.running is not None)
        second = asyncio.create_task(images.generate(request(seed=8)))
        await until(lambda: server.asked("POST", "/prompt") == 2)
        assert not server.pending
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await first
        await until(lambda: server.running is None)
        assert len(server.history) == 1


@pytest.mark.parametrize("fault", ["stray", "states only"])
async def test_only_the_progress_of_this_drawing_is_told(adapter: Adapter, fault: Any) -> None:
    steps: list[tuple[int, int]] = []
    async with LoopbackComfyUI(step_seconds=0.01, faults={0: fault}) as server:
        await adapter(server.url).images.generate(request(), lambda *it: steps.append(it))
    assert steps == [(step, 8) for step in range(1, 9)]


async def test_a_server_that_dies_is_given_up(adapter: Adapter) -> None:
    async with LoopbackComfyUI(step_seconds=0.2) as server:
        images = adapter(server.url, pace=QUICK._replace(lost=0.1)).images
        drawing = asyncio.create_task(images.generate(request()))
        await until(lambda: server.running is not None)
    with pytest.raises(ModelOutage, match="was lost while it drew") as caught:
        await drawing
    assert caught.value.again == "paid"


async def test_the_time_limit_stops_the_drawing_at_the_server(adapter: Adapter) -> None:
    async with LoopbackComfyUI(step_seconds=0.2) as server:
        with pytest.raises(ModelOutage, match=r"within 0\.3 s") as caught:
            await adapter(server.url, seconds=0.3).images.generate(request())
        assert caught.value.again == "paid"
        await until(lambda: server.running is None)
        assert server.asked("POST", "/interrupt") == 1


async def test_interrupted_by_someone_else(adapter: Adapter) -> None:
    async with LoopbackComfyUI(step_seconds=0.05) as server:
        drawing = asyncio.create_task(adapter(server.url).images.generate(request()))
        await until(lambda: server.running is not None)
        async with httpx.AsyncClient(base_url=server.url) as page:
            await page.post("/interrupt", json={})
        with pytest.raises(ModelOutage, match="interrupted") as caught:
            await drawing
    assert caught.value.again == "paid"


async def test_a_cleared_queue_is_noticed(adapter: Adapter) -> None:
    async with LoopbackComfyUI(step_seconds=0.1) as server:
        images = adapter(server.url, pace=QUICK._replace(silence=0.05)).images
        first = asyncio.create_task(images.generate(request()))
        await until(lambda: server.running is not None)
        second = asyncio.create_task(images.generate(request(seed=8)))
        await until(lambda: server.pending)
        async with httpx.AsyncClient(base_url=server.url) as page:
            await page.post("/queue", json={"clear": True})
        with pytest.raises(ModelOutage, match="no longer knows"):
            await second
        assert size((await first).png) == (64, 48)


async def test_drawings_at_once_each_get_their_own_picture_and_progress(adapter: Adapter) -> None:
    told: dict[int, list[int]] = {seed: [] for seed in range(4)}

    def teller(seed: int) -> Progress:
        return lambda done, _: told[seed].append(done)

    async with LoopbackComfyUI(step_seconds=0.002) as server:
        images = adapter(server.url).images
        drawn = await asyncio.gather(*(images.generate(request(seed=seed), teller(seed)) for seed in told))
        alone = [(await images.generate(request(seed=seed))).png for seed in told]
    assert [it.png for it in drawn] == alone
    assert all(steps == list(range(1, 9)) for steps in told.values())


async def test_an_old_server_draws_too(adapter: Adapter) -> None:
    async with LoopbackComfyUI(old=True) as server:
        assert size((await adapter(server.url).images.generate(request())).png) == (64, 48)


async def test_release_unloads_the_models(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        await adapter(server.url).inner.release()
        assert server.freed == 1


async def test_the_budget_is_asked_before_the_server(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        await Purses().open("trajectory", Limits(max_images=1, max_cost=0.4), {}, 0.0)
        with pytest.raises(BudgetSpent, match="max_cost"):
            await adapter(server.url).images.generate(request())
        assert not server.requests


async def test_a_page_in_place_of_the_server(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        with pytest.raises(GemsConfigError, match=r"404.*base URL"):
            await adapter(f"{server.url}/elsewhere").images.generate(request())


async def test_the_key_goes_to_the_proxy_and_into_no_message(adapter: Adapter) -> None:
    async with LoopbackComfyUI(faults={0: "execution error"}) as server:
        with pytest.raises(ModelOutage) as caught:
            await adapter(server.url, key=KEY).images.generate(request(f"say {KEY}"))
        assert {it.headers["authorization"] for it in server.requests} == {f"Bearer {KEY}"}
    assert KEY not in str(caught.value)


async def test_a_generator_serves_several_event_loops(adapter: Adapter) -> None:
    async with LoopbackComfyUI() as server:
        made = adapter(server.url)

        async def elsewhere() -> Drawing:
            try:
                return await made.images.generate(request(seed=2))
            finally:
                await made.inner.aclose()

        await made.images.generate(request())
        drawing = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert size(drawing.png) == (64, 48)
