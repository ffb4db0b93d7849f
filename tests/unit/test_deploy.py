"""What lies in deploy/ holds together: images are pinned, settings agree with langgraph.json, and commands parse."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from langgraph_cli.config import config_to_docker, validate_config_file

from gems.app.cli import main
from gems.app.web.limits import load_limits
from gems.core.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = [DEPLOY / "Dockerfile", DEPLOY / "Dockerfile.serve"]
COMPOSE_FILES = [DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml"]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FILLED_IN = {
    "POSTGRES_PASSWORD": "abc123",
    "GEMS_TOKENS": "anna:0123456789abcdef",
    "GEMS_PUBLIC_URL": "https://gems.example.com",
    "GEMS_SERVE_TOKENS": "0123456789abcdef",
}
"""What the example says is needed, but for what only the LangGraph server reads."""
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Names and arguments, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    parts = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in parts]


def argument(dockerfile: Path, name: str) -> Any:
    (found,) = [rest for it, rest in instructions(dockerfile) if it == name]
    return json.loads(found)


def example() -> dict[str, str | None]:
    """The variables of the example; None where they are commented out."""
    found: dict[str, str | None] = {}
    for line in (DEPLOY / ".env.example").read_text().splitlines():
        if match := re.fullmatch(r"(#?)([A-Z_][A-Z0-9_]*)=(.*)", line):
            found[match[2]] = None if match[1] else match[3]
    return found


def filled_in(text: str, given: dict[str, str]) -> str:
    """As Compose fills in variables."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if given.get(name):
            return given[name]
        assert kind == ":-", f"{name} is needed"
        return str(rest)

    return VARIABLE.sub(value, text)


def environment(service: str, compose: Path, given: dict[str, str]) -> dict[str, str]:
    written = yaml.safe_load(compose.read_text())["services"][service]["environment"]
    passed_on = {name: given[name] for name, value in written.items() if value is None and name in given}
    return passed_on | {name: filled_in(str(value), given) for name, value in written.items() if value is not None}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda it: it.name)
def test_dockerfiles_are_clean(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint.exe" if os.name == "nt" else "hadolint")
    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda it: it.name)
def test_dockerfiles_install_extras_that_there_are_and_hold_no_keys(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    (extras,) = re.findall(r'"/\w+(?:/\w+)?\[([\w,]+)\]"', text)
    assert set(extras.split(",")) <= EXTRAS.keys()
    names = [rest.split("=")[0] for name, rest in instructions(dockerfile) if name in ("ENV", "ARG")]
    assert not [name for name in names if re.search("KEY|TOKEN|SECRET|PASSWORD", name)]


def test_the_server_is_what_the_command_line_tool_would_build() -> None:
    config = validate_config_file(ROOT / "langgraph.json")
    generated, _ = config_to_docker(ROOT / "langgraph.json", config, base_image="langchain/langgraph-api")
    theirs = set(re.findall(r"^ENV (LANG\w+=.*)$", generated, re.MULTILINE))
    ours = {rest for name, rest in instructions(DOCKERFILES[0]) if name == "ENV" and rest.startswith("LANG")}
    assert ours == theirs
    assert len(ours) == 4
    for line in ours:
        _, _, value = line.partition("=")
        # An apostrophe in a description ends the quotes, and the image cannot be built.
        assert len(shlex.split(value)) == 1
        assert json.loads(shlex.split(value)[0]) in json.loads((ROOT / "langgraph.json").read_text()).values()


def test_torch_without_cuda_is_one_that_the_package_takes() -> None:
    (wanted,) = re.findall(r'"(torch[^"]*)"', DOCKERFILES[0].read_text())
    assert wanted in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_the_image_server_is_no_root_and_its_command_parses() -> None:
    assert ("USER", "10001") in instructions(DOCKERFILES[1])
    assert argument(DOCKERFILES[1], "ENTRYPOINT") == ["gems"]
    command = yaml.safe_load(COMPOSE_FILES[1].read_text())["services"]["images"]["command"]
    for arguments in (argument(DOCKERFILES[1], "CMD"), [filled_in(part, {}) for part in command]):
        serve = main.commands[arguments[0]]
        with serve.make_context("gems serve", list(arguments[1:])) as context:
            assert context.params["models"] == ("stabilityai/sd-turbo",)
            assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 8000)


def test_the_commands_that_compose_files_tell_of_parse() -> None:
    told = re.search(r"run --rm images (pull .*)", COMPOSE_FILES[1].read_text())
    assert told is not None
    name, *arguments = told[1].split()
    with main.commands[name].make_context("gems pull", arguments) as context:
        assert context.params["yes"] is True


@pytest.mark.parametrize("compose", COMPOSE_FILES, ids=lambda it: it.name)
def test_compose_files_hold_together(compose: Path) -> None:
    found = yaml.safe_load(compose.read_text())
    named = set(found["volumes"])
    for name, service in found["services"].items():
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", service["image"]), f"{name}: a tag that says which"
        assert service["restart"] == "unless-stopped"
        built = service.get("build")
        dockerfile = (DEPLOY / built["context"] / built["dockerfile"]).resolve() if built else None
        assert dockerfile is None or dockerfile in DOCKERFILES
        checked = dockerfile is not None and any(it == "HEALTHCHECK" for it, _ in instructions(dockerfile))
        assert "healthcheck" in service or checked, name
        for needed, how in service.get("depends_on", {}).items():
            assert "healthcheck" in found["services"][needed]
            assert how == {"condition": "service_healthy"}
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in named


@pytest.mark.parametrize("compose", COMPOSE_FILES, ids=lambda it: it.name)
def test_every_variable_of_a_compose_file_is_in_the_example(compose: Path) -> None:
    text, known = compose.read_text(), example()
    for name, kind, rest in VARIABLE.findall(text):
        assert name in known, name
        if kind == ":-":
            assert known[name] == rest, f"{name}: the example shows the default"
        else:
            assert kind == ":?", f"{name} has neither a default nor words for where it is missing"
            assert known[name] == "", f"{name} is to be filled in"
    for service in yaml.safe_load(text)["services"].values():
        passed_on = {name for name, value in service.get("environment", {}).items() if value is None}
        assert all(known[name] is None or known[name] == "" for name in passed_on)


def test_the_example_names_nothing_that_nobody_reads() -> None:
    texts = "".join(path.read_text() for path in COMPOSE_FILES)
    assert [name for name in example() if name not in texts] == []
    assert {name for name, value in example().items() if value == "" and f"{{{name}:?" in texts} == FILLED_IN.keys()


@pytest.mark.parametrize("profile", ["sketch", "house"])
def test_the_server_understands_what_compose_tells_it(profile: str, tmp_path: Path) -> None:
    given = {**{name: value or "" for name, value in example().items()}, **FILLED_IN}
    environ = environment("server", COMPOSE_FILES[0], {**given, "GEMS_PROFILE": profile, "OPENAI_API_KEY": "sk-x"})
    (tmp_path / "gems.toml").write_text((DEPLOY / "gems.toml").read_text())
    settings = load_settings(tmp_path, {**environ, "GEMS_HOME": str(tmp_path)})
    assert settings.resolve().name == profile
    assert set(settings.tokens) == {"anna"}
    assert settings.public_url == "https://gems.example.com"
    assert settings.artifacts_url is None
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://postgres:abc123@postgres:5432/gems"
    assert environ["DATABASE_URI"].endswith("/langgraph"), "the server has tables of the same names in its own"
    limits = load_limits(settings, environ)
    assert (limits.runs_at_once, limits.requests_per_minute) == (10, 120)
    if profile == "house":
        assert settings.images(settings.resolve()).key_name == "GEMS_IMAGES_API_KEY"


def test_images_hold_what_the_package_is_made_from_and_nothing_of_a_workplace() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = set(project["tool"]["setuptools"]["package-dir"].values())
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *rooms}
    assert allowed == needed
    assert {"**/.env", "**/.env.*"} <= set(lines)
