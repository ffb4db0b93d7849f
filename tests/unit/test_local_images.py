"""Weights of this machine behind the image port: what is refused, what is ordered, and what the settings mean."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gems.backends.local.images import LocalImages, encode, studio_of
from gems.backends.local.orders import LocalModel, Order, Painted
from gems.backends.local.placement import GB, Memory
from gems.backends.local.scripted import ScriptedStudio
from gems.backends.local.workers import LocalStudio
from gems.backends.services import make_images, make_models
from gems.core.errors import DrawingRefused, GemsConfigError
from gems.core.ports import Capabilities, DrawRequest
from gems.core.profiles import DrawingOptions, Endpoint, LocalOptions, Lora
from gems.core.settings import load_settings
from gems.evals.tiny import write_lora

Tiny = Callable[[str], Path]


class ScriptedDevice(ScriptedStudio):
    """Also says which device it is, and what it was told to expect."""

    devices = ("cpu",)

    def __init__(self, **script: Any) -> None:
        super().__init__(**script)
        self.expected: list[LocalModel] = []
        self.held: list[LocalModel] = []
        self.memory = Memory("cpu", 64 * GB, 64 * GB, 64 * GB, can_offload=False)

    def expect(self, model: LocalModel) -> None:
        self.expected.append(model)

    def holds(self, model: LocalModel) -> bool:
        return model in self.held

    def room(self, device: str) -> Memory:
        return self.memory


def images(source: Path | str, studio: ScriptedDevice | None = None, **more: Any) -> LocalImages:
    shares = more.pop("shares_device", False)
    endpoint = Endpoint(provider="diffusers", model=str(source), **more)
    return LocalImages(endpoint, shares_device=shares, studio=studio or ScriptedDevice())  # type: ignore[arg-type]


def png(size: tuple[int, int] = (64, 64), colour: str = "red") -> bytes:
    return encode(Image.new("RGB", size, colour))


async def ordered(source: Path, request: DrawRequest, **more: Any) -> Order:
    studio = ScriptedDevice()
    await images(source, studio, **more).generate(request)
    return studio.orders[0]


REQUEST = DrawRequest("a red dog", 7, 64, 96)


async def test_a_drawing_is_ordered_with_the_settings_of_the_family(tiny: Tiny) -> None:
    order = await ordered(tiny("qwen-image"), REQUEST)
    assert (order.prompt, order.seed, order.width, order.height, order.images) == ("a red dog", 7, 64, 96, ())
    assert order.sampling[:4] == (50, None, 4.0, " ")
    paper = await ordered(tiny("qwen-image"), REQUEST, drawing=DrawingOptions(preset="paper"))
    assert paper.sampling[:4] == (50, None, 1.0, None)
    own = DrawingOptions(steps=9, guidance_scale=2.0, negative_prompt="blur", seconds=5.0)
    order = await ordered(tiny("sdxl"), REQUEST, drawing=own)
    assert (*order.sampling[:4], order.seconds) == (9, 2.0, None, "blur", 5.0)


async def test_the_picture_comes_back_as_a_png_with_what_was_lost(tiny: Tiny) -> None:
    studio = ScriptedDevice(warnings=("read 77 of 90 tokens",))
    steps: list[tuple[int, int]] = []
    drawing = await images(tiny("sd-turbo"), studio).generate(REQUEST, lambda *it: steps.append(it))
    assert Image.open(io.BytesIO(drawing.png)).size == (64, 96)
    assert drawing.warnings == ("read 77 of 90 tokens",)
    assert steps


async def test_an_edit_draws_over_the_picture(tiny: Tiny) -> None:
    request = replace(REQUEST, source=png(colour="blue"), references=(png(),))
    order = await ordered(tiny("sd-turbo"), request)
    assert [it.getpixel((0, 0)) for it in order.images] == [(0, 0, 255)]
    drawing = await images(tiny("sd-turbo")).generate(request)
    assert drawing.warnings == (f"diffusers:{tiny('sd-turbo')} starts from 1 pictures: 1 were left out",)
    assert order.sampling.strength == 0.6
    strong = await ordered(tiny("sd-turbo"), request, drawing=DrawingOptions(strength=0.9))
    assert strong.sampling.strength == 0.9
    # A picture that is only to be followed may keep less of itself.
    followed = await ordered(tiny("sd-turbo"), replace(REQUEST, references=(png(),)))
    assert (len(followed.images), followed.sampling.strength) == (1, 0.8)


async def test_a_model_that_follows_instructions_takes_several_pictures(tiny: Tiny) -> None:
    order = await ordered(tiny("flux.2-klein"), replace(REQUEST, source=png(), references=(png(),) * 5))
    assert len(order.images) == 4


def test_what_each_family_can_do(tiny: Tiny) -> None:
    redraws = images(tiny("sdxl")).capabilities
    assert (redraws.edit, redraws.references, redraws.seeds) == (True, 1, True)
    assert "draws the whole picture again" in redraws.notes
    follows = images(tiny("flux.2-klein")).capabilities
    assert (follows.edit, follows.references) == (True, 4)
    assert "draws the whole picture again" not in follows.notes
    assert images(tiny("sdxl"), drawing=DrawingOptions(edit=False)).capabilities.edit is False
    assert images(tiny("sdxl"), drawing=DrawingOptions(notes="short")).capabilities.notes.startswith("short")
    unknown = shutil.copytree(tiny("sd-turbo"), tiny("sd-turbo").parent / "other")
    index = unknown / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "LatentConsistencyModelPipeline"))
    assert images(unknown).capabilities == Capabilities(edit=False, references=0, notes="")


async def test_an_edit_where_there_is_none_is_refused(tiny: Tiny) -> None:
    with pytest.raises(DrawingRefused, match="cannot edit images"):
        await ordered(tiny("sdxl"), replace(REQUEST, source=png()), drawing=DrawingOptions(edit=False))
    # References beyond what is taken are left out.
    order = await ordered(tiny("sdxl"), replace(REQUEST, references=(png(),)), drawing=DrawingOptions(edit=False))
    assert order.images == ()


@pytest.mark.parametrize(
    ("family", "size", "instead"), [("z-image-turbo", 1000, "1008x1008|992x992"), ("sdxl", 100, "104x104|96x96")]
)
def test_sizes_are_checked_before_anything_is_loaded(family: str, size: int, instead: str, tiny: Tiny) -> None:
    studio = ScriptedDevice()
    with pytest.raises(GemsConfigError, match=rf"cannot draw {size}x{size}; it can draw ({instead})"):
        images(tiny(family), studio).check("a dog", size, size)
    assert studio.expected == []


def test_a_check_begins_to_load_unless_the_device_is_shared(tiny: Tiny) -> None:
    studio = ScriptedDevice()
    assert images(tiny("sd-turbo"), studio).check("a dog", 512, 512) == []
    assert [it.source for it in studio.expected] == [str(tiny("sd-turbo"))]
    assert images(tiny("sd-turbo"), studio, shares_device=True).check("a dog", 512, 512) == []
    assert len(studio.expected) == 1


def test_a_model_without_room_is_refused_but_not_for_the_room_that_it_has_itself(tiny: Tiny) -> None:
    studio = ScriptedDevice()
    studio.memory = studio.memory._replace(free=1000)
    model = images(tiny("sd-turbo"), studio)
    with pytest.raises(GemsConfigError, match="are free: close what else uses it"):
        model.check("a dog", 512, 512)
    assert studio.expected == []
    studio.held.append(model._model)
    assert model.check("a dog", 512, 512) == []


async def test_files_that_change_are_another_model_for_new_runs_alone(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("sd-turbo"), tmp_path / "sd-turbo")
    studio = ScriptedDevice()
    model = images(folder, studio)
    before = model.identity
    await model.generate(REQUEST)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    assert model.identity == before, "until another run begins"
    await model.generate(REQUEST)
    model.check("a dog", 512, 512)
    assert model.identity != before
    await model.generate(REQUEST)
    first, second, third = (order.model for order in studio.orders)
    assert first == second != third


def test_a_long_prompt_is_announced(tiny: Tiny) -> None:
    assert "reads 77" in images(tiny("sdxl")).check("a word " * 100, 512, 512)[0]


def test_a_model_that_only_edits_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("qwen-image"), tmp_path / "edit")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("QwenImagePipeline", "QwenImageEditPipeline"))
    with pytest.raises(GemsConfigError, match="only changes pictures, and draws none from a prompt"):
        images(folder).check("a dog", 512, 512)


def test_identity_holds_what_decides_a_picture_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    lora = write_lora(folder, tmp_path / "lora.safetensors")

    def identity(drawing: DrawingOptions | None = None, **local: Any) -> str:
        return repr(images(folder, drawing=drawing or DrawingOptions(), local=LocalOptions(**local)).identity)

    same = identity()
    for placement in ({"placement": "offload"}, {"batch": 1}, {"idle_seconds": 5}, {"device": "cpu"}):
        assert identity(**placement) == same
    assert identity(DrawingOptions(seconds=3, retries=0, concurrency=1)) == same
    changed = {
        identity(DrawingOptions(steps=3)),
        identity(DrawingOptions(strength=0.3)),
        identity(dtype="bf16"),
        identity(placement="fp8"),
        identity(placement="nf4"),
        identity(scheduler="FlowMatchHeunDiscreteScheduler"),
        identity(scheduler_options={"shift": 1.0}),
        identity(loras=[Lora(path=str(lora))]),
        identity(loras=[Lora(path=str(lora), scale=0.5)]),
    }
    assert len(changed | {same}) == 10


def test_models_that_are_not_named_or_not_there() -> None:
    with pytest.raises(GemsConfigError, match="diffusers names no model: write diffusers:OWNER/NAME"):
        images("")
    missing = images("acme/none")
    with pytest.raises(GemsConfigError, match=r"gems pull acme/none"):
        missing.check("a dog", 512, 512)
    with pytest.raises(GemsConfigError, match=r"gems pull acme/none"):
        _ = missing.capabilities


async def test_rest_is_passed_on(tiny: Tiny) -> None:
    studio = ScriptedDevice()
    await images(tiny("sd-turbo"), studio).rest()
    assert studio.rests == 1


def test_a_device_that_is_not_there_is_told(tiny: Tiny) -> None:
    endpoint = Endpoint(provider="diffusers", model=str(tiny("sd-turbo")), local=LocalOptions(device="cuda:7"))
    with pytest.raises(GemsConfigError, match=r"local\.device 'cuda:7' is not on this machine; there are: .*cpu"):
        LocalImages(endpoint).check("a dog", 512, 512)


def test_models_of_one_device_share_its_studio() -> None:
    assert studio_of("cpu") is studio_of("cpu") is not studio_of("other")
    assert isinstance(studio_of("cpu"), LocalStudio)


def test_a_studio_that_was_closed_is_replaced() -> None:
    first = studio_of("cpu")
    first.close()
    assert first.is_closed
    assert studio_of("cpu") is not first


def test_threads_that_ask_at_once_get_one_studio() -> None:
    device = "one of many"
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(studio_of, [device] * 32))) == 1


def test_the_factories_know_the_provider(tiny: Tiny, tmp_path: Path) -> None:
    assert isinstance(make_images(Endpoint(provider="diffusers", model="x")), LocalImages)
    (tmp_path / "gems.toml").write_text(
        f'[profiles.mine]\nmllm = "sketch"\nimages = "diffusers:{tiny("sd-turbo")}"\nsize = "64x64"\n'
        "[profiles.mine.local]\nbatch = 2\n"
    )
    models = make_models(load_settings(tmp_path, {}), "mine")
    assert models.images.name == f"diffusers:{tiny('sd-turbo')}"
    assert models.images.capabilities.edit


def test_a_painting_is_told_from_a_picture() -> None:
    painted = Painted(Image.new("RGB", (8, 8), "green"), 1.0)
    assert Image.open(io.BytesIO(encode(painted.image))).getpixel((3, 3)) == (0, 128, 0)
