"""`gems doctor` of a profile that draws with weights of one's own: packages, weights, memory, and whose turn it is."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gems.app.accelerators import ScriptedDevices
from gems.app.doctor import examine
from gems.app.packages import installed_version
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.backends.local.catalogue import KNOWN
from gems.backends.local.placement import GB, Memory
from gems.core.errors import GemsConfigError
from gems.core.settings import load_settings
from gems.evals.tiny import write_gguf
from gems.graph import OwnServices

Tiny = Callable[[str], Path]

SERVER = "http://127.0.0.1:11434"
CARD = Memory("cuda:0", 22 * GB, 24 * GB, 30 * GB)
OLLAMA = {f"{SERVER}/v1/models": {"data": [{"id": "eye"}]}, f"{SERVER}/api/version": {"version": "0.13.0"}}
OTHER = {f"{SERVER}/v1/models": {"data": [{"id": "eye"}]}}
REPLIES = {
    "decompose": lambda _: {"requirements": [{"id": "r1", "question": "Is there an apple?", "kind": "object"}]},
    "judge": lambda _: {"verdicts": [{"id": "r1", "evidence": "an apple", "verdict": "met"}]},
}


class Doctor:
    """The doctor of a machine that is made up, for a profile of this test's."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys
        self.devices = ScriptedDevices(CARD)
        self.lacking: tuple[str, ...] = ()
        self.servers: dict[str, Any] | None = OLLAMA
        """What they answer; None: nobody is there."""
        self.asked: list[str] = []
        self.images = ScriptedImages()
        self.code = -1

    def says(self, images: Path | str, *settings: str, chat: str = "openai:eye") -> str:
        lines = ["[profiles.mine]", f'mllm = "{chat}"', f'images = "diffusers:{images}"', *settings]
        if chat == "openai:eye":
            lines.append(f'mllm_base_url = "{SERVER}/v1"')
        (self._folder / "gems.toml").write_text("\n".join(lines), encoding="utf-8")
        services = OwnServices(load_settings(), chat=ScriptedRole(dict(REPLIES)), images=self.images)
        self.code = examine("mine", services, httpx.MockTransport(self._answer), self.devices, self._version)
        return self._capsys.readouterr().out

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.servers is None:
            raise httpx.ConnectError("nobody there")
        reply = self.servers.get(str(request.url))
        return httpx.Response(404) if reply is None else httpx.Response(200, json=reply)

    def _version(self, package: str) -> str | None:
        return None if package in self.lacking else installed_version(package) or "1.0"


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return Doctor(tmp_path, capsys)


def line(text: str, what: str) -> str:
    """The line about one thing, and what to do about it."""
    found = re.search(rf"^(ok|warn|bad) +{re.escape(what)} .*(\n +to do: .*)?", text, re.MULTILINE)
    assert found is not None, text
    return found[0]


def sparse(folder: Path, family: str) -> Path:
    """A tiny pipeline whose weights are as many as a real model's, of which the disk has nothing but the headers."""
    counts = next(it for it in KNOWN if it.profile == family).weights
    for part, count in counts.items():
        (old,) = (folder / part).glob("*.safetensors")
        header = json.dumps({"w": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
        with old.open("wb") as stream:
            stream.write(struct.pack("<Q", len(header)) + header)
            stream.truncate(8 + len(header) + 2 * count)
    return folder


def test_all_is_well(doctor: Doctor, tiny: Tiny) -> None:
    text = doctor.says(tiny("z-image-turbo"), "overlap = false")
    assert doctor.code == 0
    assert "bad" not in text
    assert "warn" not in text
    for package in ("torch", "diffusers", "transformers"):
        assert f"{package} {installed_version(package)}" in line(text, "packages")
    assert re.search(r"is whole: 1\.\d MB in fp32", line(text, "weights"))
    assert line(text, "devices") == "ok    devices     cuda:0 (SCRIPTED), 22.0 of 24.0 GB free"
    assert "resident, bf16 on cuda:0 (SCRIPTED), 22.0 of 24.0 GB free; all of it counts" in line(text, "memory")
    assert "an Ollama, which unloads it" in line(text, "turns")
    assert "images key" not in text, "weights of one's own need none"
    assert (doctor.images.history[0].width, doctor.images.history[0].height) == (1024, 1024)


def test_weights_that_are_missing_or_damaged_are_said_once_and_nothing_is_drawn(
    doctor: Doctor, tiny: Tiny, tmp_path: Path
) -> None:
    text = doctor.says("Tongyi-MAI/Z-Image-Turbo")
    assert doctor.code == 2
    assert line(text, "weights").startswith("bad")
    assert "run `gems pull Tongyi-MAI/Z-Image-Turbo`" in line(text, "weights")
    assert text.count("gems pull") == 1
    assert doctor.images.history == []
    # What does not hang on them is looked at all the same.
    assert line(text, "devices").startswith("ok")
    assert line(text, "answers").startswith("ok")
    folder = shutil.copytree(tiny("sd-turbo"), tmp_path / "cut")
    (file,) = (folder / "unet").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-10])
    assert "is cut off" in line(doctor.says(folder), "weights")


def test_what_the_cache_has_is_told(doctor: Doctor, tiny: Tiny, tmp_path: Path) -> None:
    assert line(doctor.says(tiny("sd-turbo")), "cache").endswith(f"{tmp_path / 'hub'}: no pipelines")
    repository = tmp_path / "hub" / "models--acme--photos"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="ascii")
    shutil.copytree(tiny("sd-turbo"), repository / "snapshots" / commit)
    text = doctor.says("acme/photos")
    assert re.search(r"acme/photos \(\d+(\.\d)? [Mk]B\)", line(text, "cache"))
    assert "commit 01234567" in line(text, "weights")
    assert "--revision v2" in line(doctor.says("acme/photos", 'local.revision = "v2"'), "weights")


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        (['local.placement = "fp8"'], "accelerate"),
        (['local.placement = "nf4"'], "bitsandbytes"),
        (['local.loras = [{ path = "x.safetensors" }]'], "peft"),
        (['local.transformer = "x.gguf"'], "gguf"),
    ],
)
def test_packages_that_only_some_settings_need(doctor: Doctor, tiny: Tiny, settings: list[str], package: str) -> None:
    doctor.lacking = ("accelerate", "bitsandbytes", "peft", "gguf")
    folder = tiny("z-image-turbo")
    assert not any(f" {it} " in doctor.says(folder) for it in doctor.lacking)
    said = line(doctor.says(folder, *settings), package)
    assert said.startswith("bad")
    assert f"pip install {package}; local." in said
    doctor.lacking = ()
    assert f"{package} " in line(doctor.says(folder, *settings), "packages")


def test_without_torch_no_device_is_looked_for(doctor: Doctor, tiny: Tiny) -> None:
    doctor.lacking = ("torch",)
    text = doctor.says(tiny("sd-turbo"))
    assert doctor.code == 2
    assert "pip install torch; the profile 'mine' draws with it" in line(text, "torch")
    assert line(text, "weights").startswith("ok")
    assert (doctor.devices.loads_of_torch, doctor.images.history) == (0, [])


def test_a_torch_that_cannot_be_loaded_and_a_device_that_is_not_there(doctor: Doctor, tiny: Tiny) -> None:
    assert "'xpu:1' is not on this machine" in line(doctor.says(tiny("sd-turbo"), 'local.device = "xpu:1"'), "device")
    assert doctor.code == 2
    doctor.devices = ScriptedDevices(broken=GemsConfigError("torch cannot be used: install it again"))
    assert "install it again" in line(doctor.says(tiny("sd-turbo")), "device")


def test_a_gpu_that_torch_cannot_use_is_named(doctor: Doctor, tiny: Tiny) -> None:
    doctor.devices = ScriptedDevices(seen="NVIDIA L4, 24 GiB")
    said = line(doctor.says(tiny("sd-turbo")), "devices")
    assert said.startswith("warn")
    assert f"the driver shows NVIDIA L4, 24 GiB, which torch {installed_version('torch')} cannot use" in said
    assert "https://pytorch.org/get-started/locally" in said
    doctor.devices = ScriptedDevices()
    assert "drawn on the CPU" in line(doctor.says(tiny("sd-turbo")), "devices")


# Memory


@pytest.fixture
def z_image(tiny: Tiny, tmp_path: Path) -> Path:
    return sparse(shutil.copytree(tiny("z-image-turbo"), tmp_path / "z-image-turbo"), "z-image-turbo")


def test_a_model_that_does_not_fit_is_refused_with_a_smaller_one(doctor: Doctor, z_image: Path) -> None:
    doctor.devices = ScriptedDevices(CARD._replace(free=8 * GB))
    text = doctor.says(z_image)
    said = line(text, "memory")
    assert (said[:3], doctor.code, doctor.images.history) == ("bad", 2, [])
    assert re.search(
        r"needs 9\.\d GB of memory on cuda:0, and 8\.0 GB are free: close what else uses it, or take", said
    )
    assert "a smaller model, such as " in said
    # With 4 bits there would be room.
    assert "to do: pip install accelerate bitsandbytes, and there is room: offload, nf4" in said
    doctor.devices = ScriptedDevices(CARD._replace(free=8 * GB, can_quantize=True))
    assert "offload, nf4" in line(doctor.says(z_image), "memory")


def test_a_refusal_that_no_package_would_help(doctor: Doctor, z_image: Path) -> None:
    doctor.devices = ScriptedDevices(CARD._replace(free=2 * GB))
    assert "to do" not in line(doctor.says(z_image), "memory")
    doctor.devices = ScriptedDevices(Memory("mps", 9 * GB, 12 * GB, 9 * GB, can_offload=False))
    assert "to do" not in line(doctor.says(z_image), "memory")


def test_who_takes_turns_may_count_on_all_of_it(doctor: Doctor, z_image: Path) -> None:
    doctor.devices = ScriptedDevices(CARD._replace(free=2 * GB))
    said = line(doctor.says(z_image, "overlap = false"), "memory")
    assert said.startswith(
        "ok    memory      offload, bf16 on cuda:0 (SCRIPTED), 2.0 of 24.0 GB free; all of it counts"
    )
    # A chat model that is elsewhere gives nothing back here.
    doctor.says(z_image, "overlap = false", chat="sketch")
    assert doctor.code == 2


def test_on_a_cpu_it_is_slow_and_a_small_picture_is_tried(doctor: Doctor, z_image: Path) -> None:
    doctor.devices = ScriptedDevices(cpu_free=100 * GB)
    text = doctor.says(z_image)
    said = line(text, "memory")
    assert said.startswith("warn  memory      resident, fp32 on cpu (SCRIPTED), 100.0 of 200.0 GB free; ")
    assert "a picture may take many minutes" in said
    assert "to do: take a small model, such as stabilityai/sd-turbo" in said
    assert line(text, "draws").startswith("ok    draws       256x256 pixels")
    assert [(it.width, it.height) for it in doctor.images.history] == [(256, 256)]


def test_a_gguf_file_is_counted_as_it_is_stored(doctor: Doctor, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    file = write_gguf(folder, tmp_path / "t.gguf")
    text = doctor.says(folder, f'local.transformer = "{file}"')
    assert doctor.code == 0, text
    assert "gguf " in line(text, "packages")
    assert line(text, "memory").startswith("ok    memory      resident, bf16")


# Turns


def test_a_chat_server_that_keeps_its_memory_is_warned_of(doctor: Doctor, tiny: Tiny) -> None:
    doctor.servers = OTHER
    said = line(doctor.says(tiny("sd-turbo"), "overlap = false"), "turns")
    assert said.startswith("warn")
    assert f"eye at {SERVER}/v1, which is no Ollama" in said
    assert "--gpu-memory-utilization" in said
    doctor.devices = ScriptedDevices()
    assert line(doctor.says(tiny("sd-turbo"), "overlap = false"), "turns").startswith("ok")


def test_an_ollama_on_the_one_gpu_should_take_turns(doctor: Doctor, tiny: Tiny) -> None:
    said = line(doctor.says(tiny("sd-turbo")), "turns")
    assert said.startswith("warn")
    assert "to do: set overlap = false in the profile 'mine'" in said
    doctor.devices = ScriptedDevices(CARD, CARD._replace(device="cuda:1"))
    assert " turns " not in doctor.says(tiny("sd-turbo"))
    doctor.devices = ScriptedDevices()
    assert " turns " not in doctor.says(tiny("sd-turbo"))
    doctor.devices = ScriptedDevices(CARD)
    doctor.servers = OTHER
    assert " turns " not in doctor.says(tiny("sd-turbo"))


def test_turns_with_nobody_cost_time(doctor: Doctor, tiny: Tiny) -> None:
    said = line(doctor.says(tiny("sd-turbo"), "overlap = false", chat="sketch"), "turns")
    assert said.startswith("ok")
    assert "overlap = true would save time" in said
    assert " turns " not in doctor.says(tiny("sd-turbo"), chat="sketch")


def test_a_chat_server_that_is_silent_is_not_asked_what_it_is(doctor: Doctor, tiny: Tiny) -> None:
    doctor.servers = None
    text = doctor.says(tiny("sd-turbo"), "overlap = false")
    assert line(text, "mllm at").startswith("bad")
    assert " turns " not in text
    assert doctor.asked == [f"{SERVER}/v1/models"]
