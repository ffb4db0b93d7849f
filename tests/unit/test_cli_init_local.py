"""`gems init` with weights of one's own: which are found, which are offered, and what is written for them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from gems.app.accelerators import Device, ScriptedDevices, TorchDevices
from gems.app.held_weights import Held, held_pipelines
from gems.app.init_choices import chat_choices, image_choices, missing
from gems.app.init_command import describe, set_up
from gems.app.local_choices import cpu_choices, fitting, gpu_choices, gpu_memory
from gems.app.machine import Addresses, FoundModel, FoundServer, Machine, look_around
from gems.backends.local.catalogue import KNOWN, best_fitting, known_model
from gems.backends.local.components import Part
from gems.backends.local.devices import host_free
from gems.backends.local.placement import GB, Memory
from gems.backends.local.weights import Weights
from gems.core.errors import GemsConfigError
from gems.core.profiles import BUILT_IN
from gems.core.settings import load_settings

Tiny = Callable[[str], Path]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPENAI = "OPENAI_API_KEY"
PACKAGES = {"torch": "2.9.0+cu128 (CUDA build)", "diffusers": "0.42.1", "transformers": "5.20.0"}
OLLAMA = FoundServer("Ollama", "http://127.0.0.1:11434/v1", (FoundModel("qwen3-vl:8b", True),))
BLIND = FoundServer("Ollama", "http://127.0.0.1:11434/v1", (FoundModel("llama3.2:3b", False),))
VLLM = FoundServer("vLLM", "http://127.0.0.1:8000/v1", (FoundModel("qwen3-vl", True),))
DRAWING = FoundServer("SGLang", "http://127.0.0.1:30000/v1", (FoundModel("Qwen/Qwen-Image", False, draws=True),))
Z_IMAGE, KLEIN, SD_TURBO = "Tongyi-MAI/Z-Image-Turbo", "black-forest-labs/FLUX.2-klein-4B", "stabilityai/sd-turbo"


def card(total: int = 24, free: int | None = None, **more: Any) -> Device:
    """A GPU with so many GB."""
    memory = Memory("cuda:0", (total if free is None else free) * GB, total * GB, 40 * GB, **more)
    return ScriptedDevices(memory).find("auto")


def machine(*devices: Device, **more: Any) -> Machine:
    return Machine(**({"gpu": "NVIDIA L4", "packages": PACKAGES, "devices": devices, "host_free": 12 * GB} | more))


def held(repository: str, pipeline_class: str = "StableDiffusionPipeline") -> Held:
    """A model that is whole; one that is not known has 2 billion weights."""
    model = known_model(repository)
    counts = model.weights if model else {"unet": 2 * GB}
    parts = {name: Part(count, 2 * count, "fp16", name) for name, count in counts.items()}
    return Held(repository, 2 * sum(counts.values()), Weights(Path(), pipeline_class, parts, COMMIT))


def offered(found: Machine) -> list[str]:
    return [it.model.removeprefix("diffusers:") for it in gpu_choices(found)]


def firsts(found: Machine) -> tuple[str, str]:
    chat = chat_choices(found)[0]
    return chat.model, image_choices(found, chat)[0].model


# What is offered


@pytest.mark.parametrize("gigabytes", [1, 6, 8, 12, 16, 24, 80, 141])
def test_the_best_that_fits_comes_first_and_what_does_not_fit_is_not_there(gigabytes: int) -> None:
    found = machine(card(gigabytes))
    memory = gpu_memory(found)
    assert memory is not None
    names, best = offered(found), best_fitting(memory)
    assert names[:1] == ([best.repository] if best else [])
    assert set(names) <= {it.repository for it in fitting(memory)}
    assert names == sorted(names, key=[it.repository for it in KNOWN].index)
    marked = [it.label for it in gpu_choices(found) if "the best that fits" in it.label]
    assert len(marked) == (best is not None)


def test_each_choice_says_how_large_it_is_its_licence_and_where_it_is() -> None:
    here, lacking = gpu_choices(machine(card(16), held=[held(KLEIN)]))[:2]
    assert "black-forest-labs/FLUX.2-klein-4B on cuda:0: in the Hugging Face cache already (15.96 GB)" in here.label
    assert "Apache-2.0" in here.label
    assert "Tongyi-MAI/Z-Image-Turbo on cuda:0: to be downloaded (20.50 GB), Apache-2.0; offload, fp8" in lacking.label
    assert "the best that fits" in lacking.label
    assert (here.fetch, lacking.fetch) == ("", "gems pull Tongyi-MAI/Z-Image-Turbo")


def test_what_is_in_the_cache_comes_first_by_quality() -> None:
    found = machine(card(), held=[held(SD_TURBO), held("acme/photos"), Held(Z_IMAGE), held(KLEIN)])
    # Z-Image is not whole, so it would have to be downloaded; of others than these nobody knows the quality.
    assert offered(found) == [KLEIN, SD_TURBO, "acme/photos", Z_IMAGE]
    by_name = {it.model: it for it in gpu_choices(found)}
    assert by_name["diffusers:acme/photos"].size == "512x512"
    assert "https://huggingface.co/acme/photos" in by_name["diffusers:acme/photos"].label


def test_a_model_of_the_cache_that_draws_nothing_from_a_prompt_or_does_not_fit_is_left_out() -> None:
    found = machine(
        card(8),
        held=[
            held("acme/edit", "QwenImageEditPipeline"),
            held("acme/odd", "OddPipeline"),
            held("Qwen/Qwen-Image-2512"),
        ],
    )
    assert not {"acme/edit", "acme/odd", "Qwen/Qwen-Image-2512"} & set(offered(found))


def test_the_largest_gpu_counts_whole_unless_a_server_keeps_its_memory() -> None:
    small, busy = card(12), card(48, free=6)
    assert gpu_memory(machine(small, busy)) == busy.memory._replace(free=48 * GB)
    assert gpu_memory(machine(small, busy, servers=[OLLAMA])) == busy.memory._replace(free=48 * GB)
    assert gpu_memory(machine(small, busy, servers=[OLLAMA, VLLM])) == small.memory
    assert gpu_memory(machine()) is None
    assert gpu_memory(machine(card(), packages={"torch": "2.9.0"})) is None


@pytest.mark.parametrize(
    ("found", "models"),
    [
        (machine(card(12), servers=[OLLAMA]), ("openai:qwen3-vl:8b", f"diffusers:{Z_IMAGE}")),
        # What costs nothing comes before what is paid.
        (machine(card(12), keys=frozenset({OPENAI})), ("openai:gpt-5-mini", f"diffusers:{Z_IMAGE}")),
        # What is up and running comes before what would have to be loaded.
        (machine(card(), servers=[OLLAMA, DRAWING]), ("openai:qwen3-vl:8b", "openai:Qwen/Qwen-Image")),
        # Who answers can be downloaded, too; without any server nobody could look at the pictures.
        (machine(card(12), servers=[BLIND]), ("openai:qwen3-vl:8b", f"diffusers:{Z_IMAGE}")),
        (machine(card(12)), ("sketch", "sketch")),
        # Nothing fits.
        (machine(card(1), servers=[OLLAMA]), ("sketch", "sketch")),
        (machine(card(1), servers=[BLIND]), ("sketch", "sketch")),
    ],
)
def test_the_first_choices(found: Machine, models: tuple[str, str]) -> None:
    assert firsts(found) == models


def test_without_a_gpu_only_what_is_small_and_here_already_is_offered_and_last() -> None:
    here = [held(SD_TURBO), held(Z_IMAGE), held("acme/photos")]
    found = machine(gpu="", servers=[OLLAMA], held=here)
    assert firsts(found) == ("openai:qwen3-vl:8b", f"diffusers:{SD_TURBO}")
    assert [it.model for it in cpu_choices(found)] == [f"diffusers:{SD_TURBO}"]
    assert "on cpu" in cpu_choices(found)[0].label
    assert "slow" in cpu_choices(found)[0].label
    assert cpu_choices(machine(gpu="", held=[], servers=[OLLAMA])) == []
    assert cpu_choices(machine(gpu="", held=here, host_free=2 * GB)) == []
    assert cpu_choices(machine(card(), held=here)) == []
    paid = machine(gpu="", held=here, keys=frozenset({OPENAI}))
    assert firsts(paid) == ("openai:gpt-5-mini", "openai:gpt-image-1-mini")
    assert [it.model for it in image_choices(paid, chat_choices(paid)[0])][1] == f"diffusers:{SD_TURBO}"


# What is said


def test_a_gpu_that_torch_cannot_use_is_named() -> None:
    said = missing(machine(packages=PACKAGES | {"torch": "2.9.0+cpu (CPU build)"}))[0]
    assert "There is a GPU here, but the torch that is installed, 2.9.0+cpu (CPU build), cannot use it" in said
    assert "https://pytorch.org/get-started/locally" in said
    assert "No GPU can be used: broken; mend it." in missing(machine(torch_problem="broken; mend it"))


def test_packages_that_would_make_more_fit_are_named() -> None:
    said = missing(machine(card(12, can_offload=False), servers=[OLLAMA]))[0]
    assert said.startswith("With more packages Tongyi-MAI/Z-Image-Turbo, ")
    assert "pip install accelerate bitsandbytes" in said
    assert missing(machine(card(12, can_quantize=True), servers=[OLLAMA])) == []
    macbook = Device(Memory("mps", 12 * GB, 12 * GB, 12 * GB, can_offload=False), "mps")
    assert missing(machine(macbook, servers=[OLLAMA])) == []


def test_a_gpu_that_is_too_small_for_all_is_told_so() -> None:
    assert "none fits into the 1.00 GB of cuda:0" in missing(machine(card(1), servers=[OLLAMA]))[0]


def test_what_was_found_is_told() -> None:
    lines = describe(machine(card(), gpu="", held=[held(SD_TURBO), Held(Z_IMAGE)]))
    assert lines[0] == "gpu       cuda:0 (SCRIPTED), 24.0 of 24.0 GB free"
    assert lines[2] == "weights   stabilityai/sd-turbo (2.58 GB), Tongyi-MAI/Z-Image-Turbo (not whole)"


# What is written


def written(folder: Path, found: Machine, numbers: list[int] | None = None) -> str:
    out = io.StringIO()
    console = Console(file=out, width=400, markup=False, emoji=False, highlight=False)
    rest = list(numbers or [])
    set_up(folder, found, console, ask=None if numbers is None else lambda _: rest.pop(0))
    assert rest == []
    return out.getvalue()


def test_beside_an_ollama_the_profile_is_the_built_in_one(tmp_path: Path) -> None:
    said = written(tmp_path, machine(card(12), servers=[OLLAMA]))
    profile = load_settings(tmp_path, {}).resolve()
    built_in = BUILT_IN["z-image-turbo"]
    ours = {"name", "mllm_base_url"}
    assert profile.model_dump(exclude=ours) == built_in.model_dump(exclude=ours)
    commands = [line.split("#")[0].strip() for line in said.partition("Next:\n")[2].splitlines()]
    assert commands[:2] == ["gems pull Tongyi-MAI/Z-Image-Turbo", "gems doctor"]
    assert "# downloads 20.50 GB, Apache-2.0" in said


@pytest.mark.parametrize("profile", [it.profile for it in KNOWN])
def test_each_known_model_is_written_as_its_profile_says(profile: str, tmp_path: Path) -> None:
    repository = BUILT_IN[profile].images.removeprefix("diffusers:")
    said = written(tmp_path, machine(card(80), servers=[OLLAMA], held=[held(repository)]))
    found = load_settings(tmp_path, {}).resolve()
    assert (found.images, found.size, found.overlap) == (BUILT_IN[profile].images, BUILT_IN[profile].size, False)
    assert "gems pull" not in said


def test_with_a_hosted_chat_model_both_work_at_the_same_time_and_money_has_its_limits(tmp_path: Path) -> None:
    written(tmp_path, machine(card(12), keys=frozenset({OPENAI})))
    settings = load_settings(tmp_path, {OPENAI: "sk-x"})
    profile = settings.resolve()
    assert (profile.overlap, profile.max_cost, profile.images) == (True, 1.0, f"diffusers:{Z_IMAGE}")
    assert settings.images(profile).api_key is None


def test_two_questions_and_all_that_is_to_be_downloaded(tmp_path: Path) -> None:
    said = written(tmp_path, machine(card(80), servers=[BLIND]), [1, 2])
    assert said.count("?\n  1  ") == 2
    assert load_settings(tmp_path, {}).resolve().images == f"diffusers:{Z_IMAGE}"
    commands = [line.split("#")[0].strip() for line in said.partition("Next:\n")[2].splitlines()]
    assert commands[:3] == ["ollama pull qwen3-vl:8b", "gems pull Tongyi-MAI/Z-Image-Turbo", "gems doctor"]


# What is found


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody there")


async def look(folder: Path, devices: ScriptedDevices, torch: str | None = "2.9.0", **packages: str | None) -> Machine:
    versions = {"torch": torch, "diffusers": "0.42.1", "transformers": "5.20.0"} | packages
    return await look_around(folder, Addresses(), {}, httpx.MockTransport(silent), devices, versions.get)


@pytest.mark.parametrize(
    ("seen", "torch", "loads"),
    [
        ("NVIDIA L4, 24 GiB", "2.9.0", 1),
        ("NVIDIA L4, 24 GiB", "2.9.0+cu128", 1),
        ("Apple silicon", "2.9.0", 1),
        ("", "2.9.0+rocm6.4", 1),
        ("", "2.9.0+xpu", 1),
        # Where nothing can be found it is not looked for: that takes seconds.
        ("", "2.9.0", 0),
        ("", "2.9.0+cu128", 0),
        ("NVIDIA L4, 24 GiB", "2.9.0+cpu", 0),
        ("NVIDIA L4, 24 GiB", None, 0),
    ],
)
async def test_torch_is_loaded_only_where_it_may_find_a_gpu(
    seen: str, torch: str | None, loads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    devices = ScriptedDevices(Memory("cuda:0", 20 * GB, 24 * GB, 30 * GB), seen=seen)
    found = await look(tmp_path, devices, torch)
    assert (devices.loads_of_torch, len(found.devices), found.gpu) == (loads, loads, seen)
    assert (await look(tmp_path, ScriptedDevices(seen=seen), torch, transformers=None)).devices == ()


async def test_a_torch_that_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    broken = ScriptedDevices(seen="NVIDIA L4", broken=GemsConfigError("torch cannot be used: install it again"))
    found = await look(tmp_path, broken)
    assert (list(found.devices), found.torch_problem) == ([], "torch cannot be used: install it again")


def test_pipelines_of_the_cache_are_told_with_their_sizes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    assert held_pipelines() == []

    def cached(repository: str) -> Path:
        folder = hub / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT, encoding="ascii")
        return shutil.copytree(tiny("sd-turbo"), folder / "snapshots" / COMMIT)

    whole = cached(SD_TURBO)
    (cached("acme/broken") / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (cached("acme/a-chat-model") / "model_index.json").unlink()
    begun = hub / f"models--{Z_IMAGE.replace('/', '--')}" / "blobs"
    begun.mkdir(parents=True)
    (begun / "abc.incomplete").write_bytes(b"1")
    (hub / "datasets--acme--words").mkdir()
    (hub / "models--nobody").mkdir()
    found = {it.repository: it for it in held_pipelines()}
    assert {name: it.weights is not None for name, it in found.items()} == {
        SD_TURBO: True,
        "acme/broken": False,
        Z_IMAGE: False,
    }
    assert found[SD_TURBO].size == sum(it.stat().st_size for it in whole.rglob("*") if it.is_file())
    assert found["acme/broken"].in_words == "acme/broken (not whole)"


def test_this_machine_has_a_cpu_at_least() -> None:
    devices = TorchDevices()
    found = devices.find("cpu")
    assert found.described.startswith("cpu (CPU), ")
    assert 0 < found.memory.free <= found.memory.total
    assert 0 < host_free() <= found.memory.total
    assert all(it.memory.device != "cpu" for it in devices.usable())
    with pytest.raises(GemsConfigError, match=r"local\.device 'xpu:9' is not on this machine"):
        devices.find("xpu:9")


def test_looking_around_loads_no_torch(tmp_path: Path) -> None:
    code = """
import sys, gems.app.init_command, gems.app.local_checks
from gems.app.held_weights import held_pipelines
held_pipelines()
print([name for name in ("torch", "diffusers", "transformers") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1] == "[]"
