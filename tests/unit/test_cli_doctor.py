"""`gems doctor`: each red line says what is wrong and what to do, and no line shows a key."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from PIL import Image

from gems.app.cli import main
from gems.app.doctor import examine
from gems.backends.chat.abilities import Abilities
from gems.backends.chat.book import ServerBook
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.messages import TaskInput
from gems.core.settings import load_settings
from gems.graph import OwnServices

LOCAL = """
[profiles.local]
mllm = "openai:qwen2.5vl:7b"
mllm_base_url = "http://127.0.0.1:11434/v1"
images = "openai:z-image"
images_base_url = "http://127.0.0.1:30000/v1"
"""
MODELS = {
    "http://127.0.0.1:11434/v1/models": {"data": [{"id": "qwen2.5vl:7b"}]},
    "http://127.0.0.1:30000/v1/models": {"data": [{"id": "z-image"}]},
}


def _question(task: TaskInput) -> dict[str, Any]:
    return {"requirements": [{"id": "r1", "question": "Is there an apple?", "kind": "object"}]}


def _verdict(task: TaskInput) -> dict[str, Any]:
    with Image.open(io.BytesIO(task.images[0])) as picture:
        assert picture.format == "PNG"
    return {"verdicts": [{"id": "r1", "evidence": "an apple", "verdict": "met"}]}


def role(**scripts: Any) -> ScriptedRole:
    return ScriptedRole({"decompose": _question, "judge": _verdict, **scripts})


class Doctor:
    """The doctor with servers that answer what a test says, and scripted models behind them."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.requests: list[httpx.Request] = []
        self.chat = role()
        self.images = ScriptedImages()
        self.code = -1

    def says(self, profile: str, replies: dict[str, Any] | None = None) -> str:
        answers = MODELS if replies is None else replies

        def answer(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            reply = answers.get(str(request.url))
            if reply is None:
                raise httpx.ConnectError("nobody there")
            return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)

        services = OwnServices(load_settings(), chat=self.chat, images=self.images)
        self.code = examine(profile, services, httpx.MockTransport(answer))
        return self._capsys.readouterr().out


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "gems.toml"
    path.write_text(LOCAL, encoding="utf-8")
    return path


def line(text: str, what: str) -> str:
    """The line about one thing, and what to do about it."""
    found = re.search(rf"^(ok|warn|bad) +{re.escape(what)} .*(\n +to do: .*)?", text, re.MULTILINE)
    assert found is not None, text
    return found[0]


def test_all_is_well(doctor: Doctor, toml: Path) -> None:
    text = doctor.says("local")
    assert doctor.code == 0
    assert "bad" not in text
    assert "warn" not in text
    assert "has qwen2.5vl:7b" in line(text, "mllm at")
    assert "has z-image" in line(text, "images at")
    assert line(text, "answers").startswith("ok")
    assert line(text, "draws").startswith("ok")
    assert "met" in line(text, "looks")
    assert "nothing here costs money" in line(text, "limits")
    assert "Now real calls" not in text
    assert "JSON by a schema and log-probabilities" in line(text, "mllm is")
    # Two questions and one drawing.
    assert ([it.task for it in doctor.chat.history], len(doctor.images.history)) == (["decompose", "judge"], 1)


@pytest.mark.parametrize(
    ("mllm", "hint"),
    [
        ("http://127.0.0.1:11434/v1", "ollama serve"),
        ("http://localhost:8000/v1", "vllm serve"),
        ("http://127.0.0.1:30000/v1", "sglang.launch_server"),
        ("http://10.0.0.5:8080/v1", "on that machine with `llama-server"),
        ("http://127.0.0.1:5555/v1", "start the server there"),
        ("https://models.example.org/v1", "the network"),
    ],
)
def test_a_server_that_is_silent(doctor: Doctor, toml: Path, mllm: str, hint: str) -> None:
    toml.write_text(LOCAL.replace("http://127.0.0.1:11434/v1", mllm), encoding="utf-8")
    text = doctor.says("local", {"http://127.0.0.1:30000/v1/models": {"data": []}} if ":30000" not in mllm else {})
    assert doctor.code == 2
    said = line(text, "mllm at")
    assert said.startswith("bad")
    assert mllm in said
    assert hint in said
    # Nobody waits for a server that is known to be silent.
    assert doctor.chat.history == []


@pytest.mark.parametrize(
    ("images", "url", "hint"),
    [
        ("comfyui:flux.json", "http://127.0.0.1:8188", "ComfyUI's folder"),
        ("reference:z-image-turbo", "http://127.0.0.1:8000", "reference implementation"),
    ],
)
def test_image_servers_of_other_protocols(doctor: Doctor, toml: Path, images: str, url: str, hint: str) -> None:
    text = LOCAL.replace("openai:z-image", images).replace("http://127.0.0.1:30000/v1", url)
    toml.write_text(text, encoding="utf-8")
    chat = {"http://127.0.0.1:11434/v1/models": {"data": []}}
    assert hint in line(doctor.says("local", chat), "images at")
    stats = {f"{url}/system_stats": {"system": {"comfyui_version": "0.3.60"}}, url: httpx.Response(404)}
    said = line(doctor.says("local", {**chat, **stats}), "images at")
    assert said.startswith("ok")
    assert doctor.code == 0


def test_a_server_that_is_something_else(doctor: Doctor, toml: Path) -> None:
    toml.write_text(LOCAL.replace("openai:z-image", "comfyui:flux.json"), encoding="utf-8")
    replies = {**MODELS, "http://127.0.0.1:30000/v1/system_stats": httpx.Response(200, text="<html>")}
    assert "is not ComfyUI" in line(doctor.says("local", replies), "images at")


def test_a_model_that_is_not_listed_comes_with_close_names(doctor: Doctor, toml: Path) -> None:
    listed = [{"id": "Qwen/Qwen2.5VL:72b"}, {"id": "qwen2.5vl:3b"}, {"id": "llama3"}, {"id": "\x1b[2Jqwen2.5vl:8b"}]
    replies = {**MODELS, "http://127.0.0.1:11434/v1/models": {"data": listed}}
    text = doctor.says("local", replies)
    said = line(text, "mllm at")
    assert said.startswith("warn")
    assert "does not list 'qwen2.5vl:7b'" in said
    assert "qwen2.5vl:3b" in said
    assert "llama3" not in said
    assert "\x1b" not in text
    # The server may take the name all the same: only a call can tell.
    assert line(text, "answers").startswith("ok")


@pytest.mark.parametrize(
    ("listed", "healthy"),
    [
        ({"data": [{"id": "qwen2.5vl:7b:latest"}]}, "ok"),
        ({"data": []}, "ok"),
        ({"data": "odd"}, "ok"),
        ([], "ok"),
        (httpx.Response(404), "ok"),
        (httpx.Response(503, text="loading"), "warn"),
        (httpx.Response(200, text="<html>"), "ok"),
        (httpx.Response(401), "bad"),
    ],
)
def test_what_servers_say_of_their_models(doctor: Doctor, toml: Path, listed: Any, healthy: str) -> None:
    text = doctor.says("local", {**MODELS, "http://127.0.0.1:11434/v1/models": listed})
    assert line(text, "mllm at").startswith(healthy)


@pytest.mark.parametrize(
    ("path", "healthy"), [("", "warn"), ("/openai", "warn"), ("/v1", "ok"), ("/v1beta/openai", "ok")]
)
def test_a_url_that_lacks_its_end_is_doubted(doctor: Doctor, toml: Path, path: str, healthy: str) -> None:
    url = f"http://127.0.0.1:11434{path}"
    toml.write_text(LOCAL.replace("http://127.0.0.1:11434/v1", url), encoding="utf-8")
    said = line(doctor.says("local", {**MODELS, f"{url}/models": httpx.Response(404)}), "mllm at")
    assert said.startswith(healthy)
    assert (f"try {url}/v1" in said) == (healthy == "warn")


def test_how_a_model_is_asked_is_told_only_where_it_answered(doctor: Doctor, toml: Path) -> None:
    doctor.chat = role(decompose=lambda _: ModelOutage("no"), judge=lambda _: GemsConfigError("wrong; mend it"))
    text = doctor.says("local")
    assert "mllm is" not in text
    assert "to do:" not in line(text, "looks"), "its words say that"
    doctor.chat = role(decompose=lambda _: ModelOutage("no"))
    assert "JSON by a schema" in line(doctor.says("local"), "mllm is")


def test_a_role_with_a_server_of_its_own_may_need_no_key(doctor: Doctor, toml: Path) -> None:
    own = 'roles = { refiner = { model = "openai:big", base_url = "https://x.example/v1" } }\n'
    toml.write_text(LOCAL + own, encoding="utf-8")
    listing = "https://x.example/v1/models"
    said = line(doctor.says("local", {**MODELS, listing: {"data": []}}), "refiner key")
    assert said == "ok    refiner key none; the server at https://x.example/v1 may need none"
    refused = line(doctor.says("local", {**MODELS, listing: httpx.Response(401)}), "refiner at")
    assert "name a variable in api_key_env of the role" in refused


def test_a_model_that_fails_is_told_beside_those_that_work(doctor: Doctor, toml: Path) -> None:
    doctor.chat = role(decompose=lambda _: ModelOutage("out of memory"))
    text = doctor.says("local")
    assert doctor.code == 2
    assert "out of memory" in line(text, "answers")
    assert "to do:" in line(text, "answers")
    assert line(text, "draws").startswith("ok")
    assert line(text, "looks").startswith("ok")


def test_what_a_server_refused_is_told(doctor: Doctor, toml: Path) -> None:
    book = ServerBook(load_settings().home / "servers.json")
    book.learn("http://127.0.0.1:11434/v1", "qwen2.5vl:7b", Abilities(output="json_object", logprobs=False))
    said = line(doctor.says("local"), "mllm is")
    assert "without a schema" in said
    assert "no log-probabilities" in said


def test_replies_that_cannot_be_read(doctor: Doctor, toml: Path) -> None:
    doctor.chat = role(decompose=lambda _: {"no": 1}, judge=lambda _: {"no": 1})
    text = doctor.says("local")
    assert "answer in JSON" in line(text, "answers")
    assert "see pictures" in line(text, "looks")


def test_every_distinct_model_is_looked_at(doctor: Doctor, toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text(
        LOCAL
        + 'max_cost = 1\n[profiles.local.roles]\nrefiner = {model = "openai:big", base_url = "https://x.example/v1", '
        'api_key_env = "BIG_KEY"}\ncritic = "openai:qwen-eye"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("BIG_KEY", "sk-secret-1234")
    listed = {"data": [{"id": "qwen2.5vl:7b"}, {"id": "qwen-eye"}]}
    big = {"https://x.example/v1/models": {"data": [{"id": "big"}]}, "http://127.0.0.1:11434/v1/models": listed}
    text = doctor.says("local", {**MODELS, **big})
    assert "openai:qwen-eye (critic)" in text
    assert "openai:big (refiner)" in text
    assert "has qwen-eye" in line(text, "critic at")
    assert "has big" in line(text, "refiner at")
    assert line(text, "refiner answers").startswith("ok")
    assert "critic answers" not in text  # it looks
    # One price is missing, and max_cost cannot do without.
    assert "openai:big" in line(text, "price")
    assert '[prices."openai:big"]' in line(text, "price")
    assert "at most $1.00" in line(text, "limits")
    assert "which cost money" in text
    assert "set, for openai:big" in line(text, "refiner key")
    assert "sk-secret" not in text
    # The key went to its own server, and to no other.
    sent = {str(it.url): it.headers.get("authorization") for it in doctor.requests}
    assert sent == dict.fromkeys(MODELS) | {"https://x.example/v1/models": "Bearer sk-secret-1234"}


def test_a_missing_key_is_named_and_a_set_one_never_shown(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    text = doctor.says("openai", {})
    assert doctor.code == 2
    assert line(text, "mllm key").startswith("bad")
    assert "set OPENAI_API_KEY" in line(text, "mllm key")
    assert doctor.requests == []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234")
    listing = "https://api.openai.com/v1/models"
    refused = doctor.says("openai", {listing: httpx.Response(401, json={"error": {"message": "sk-secret-1234"}})})
    assert line(refused, "mllm key") == "ok    mllm key    set, for openai:gpt-5-mini"
    assert "refuses the key" in line(refused, "mllm at")
    well = doctor.says("openai", {listing: {"data": [{"id": "gpt-5-mini"}, {"id": "gpt-image-1-mini"}]}})
    assert doctor.code == 0
    assert "at most $1.00, 8 images, 60 model calls" in line(well, "limits")
    assert "$0.25 a million tokens read" in line(well, "price")
    assert "sk-secret" not in text + refused + well


def test_a_key_that_the_profile_names_for_a_server_elsewhere(doctor: Doctor, toml: Path) -> None:
    router = LOCAL.replace("http://127.0.0.1:11434/v1", "https://openrouter.ai/api/v1")
    toml.write_text(router + 'mllm_api_key_env = "OPENROUTER_API_KEY"\n', encoding="utf-8")
    said = line(doctor.says("local"), "mllm key")
    assert said.startswith("bad")
    assert "set OPENROUTER_API_KEY" in said


def test_pairs_that_do_not_fit_are_warned_of(doctor: Doctor, toml: Path) -> None:
    toml.write_text(LOCAL.replace("openai:qwen2.5vl:7b", "sketch"), encoding="utf-8")
    assert "its own pictures only" in line(doctor.says("local"), "profile")
    toml.write_text(LOCAL.replace("openai:z-image", "sketch"), encoding="utf-8")
    assert "refuses words" in line(doctor.says("local"), "profile")


def test_it_says_what_is_wrong_with_the_settings(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "file" / "home"))
    text = doctor.says("openai", {})
    assert doctor.code == 2
    assert line(text, "home").startswith("bad")
    assert "set GEMS_HOME" in text
    assert "unknown profile 'x'" in line(doctor.says("x", {}), "settings")


def test_models_that_cannot_be_made(doctor: Doctor, toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(OwnServices):
        def models(self, profile: str) -> Any:
            raise GemsConfigError("no such file flux.json")

    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": []}))
    assert examine("local", Broken(load_settings()), transport) == 2
    assert "flux.json" in line(capsys.readouterr().out, "models")


def test_torch_is_not_loaded_where_it_is_not_needed(toml: Path) -> None:
    code = """
import sys, httpx
from gems.app.cli import main
from gems.app.doctor import examine
def silent(request): raise httpx.ConnectError("")
examine("local", transport=httpx.MockTransport(silent))
print([name for name in ("torch", "diffusers") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=toml.parent)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_an_exam_with_a_limit_of_money_needs_a_price(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text(LOCAL + 'mllm_api_key_env = "EYE_KEY"\n', encoding="utf-8")
    monkeypatch.setenv("EYE_KEY", "sk-secret-1234")
    ended = CliRunner().invoke(main, ["doctor", "--critic", "--profile", "local", "--max-cost", "1"])
    assert ended.exit_code == 2
    assert '[prices."openai:qwen2.5vl:7b"]' in ended.stderr
