"""`gems doctor`: is this machine ready? Each thing that is not comes with what to do about it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from typing import Final, Literal, NamedTuple

from rich.console import Console
from rich.text import Text

from gems import __version__
from gems.app.outcome import describe
from gems.app.terminal import make_console, printable
from gems.app.wording import duration
from gems.core.context import Size
from gems.core.errors import GemsConfigError, GemsError, GemsRunError
from gems.core.messages import EncodedImage, compose
from gems.core.ports import DrawRequest, Models, Services
from gems.core.replies import Requirements, Verdicts
from gems.core.settings import Profile, Settings, load_settings
from gems.graph import make_services
from gems.memory import FileArtifacts
from gems.nodes.critic import JUDGE
from gems.nodes.decomposer import DECOMPOSE

PROMPT: Final = "a red apple"
QUESTION: Final = {"id": "r1", "question": "Is there an apple?", "kind": "object"}
_LOW: Final = 2**30
"""Free bytes below which a warning is due: a few hundred images."""
_STYLES: Final = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "bad": ("bad ", "bold red")}


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` says what to do when it is not well and `found` does not say so already."""

    what: str
    health: Literal["ok", "warn", "bad"]
    found: str
    remedy: str = ""


def examine(profile_name: str | None) -> int:
    """Look at everything and print it. Answers 0 when nothing is bad, else 2."""
    console = make_console(stderr=False)
    bad = False
    for finding in _findings(profile_name, console):
        bad = bad or finding.health == "bad"
        _print(console, finding)
    console.print()
    ready = Text("Not ready: see the lines marked bad.", "bold red") if bad else Text("Ready.", "bold green")
    console.print(ready)
    return 2 if bad else 0


def _findings(profile_name: str | None, console: Console) -> Iterator[Finding]:
    yield _python()
    try:
        settings = load_settings()
        profile = settings.resolve(profile_name)
    except GemsConfigError as error:
        yield Finding("settings", "bad", str(error), "mend gems.toml, .env or the environment variable named")
        return
    mllm, images = settings.endpoint(profile, "mllm").name, settings.endpoint(profile, "images").name
    yield Finding("profile", "ok", f"{profile.name}: {mllm} answers, {images} draws")
    yield from _packages(settings, profile)
    yield _home(settings)
    yield from _keys(settings, profile)
    services = make_services(settings)
    yield from _skills(services)
    yield from asyncio.run(_models(services, profile, console))


def _python() -> Finding:
    # Older versions of Python cannot install this package, so there is nothing to judge.
    return Finding(
        "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, gems {__version__}"
    )


def _packages(settings: Settings, profile: Profile) -> Iterator[Finding]:
    if "sketch" not in {settings.endpoint(profile, part).provider for part in ("mllm", "images")}:
        return
    for package in ("torch", "diffusers"):
        try:
            yield Finding(package, "ok", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                package, "bad", "not installed", f"pip install {package}; the profile {profile.name!r} draws with it"
            )


def _home(settings: Settings) -> Finding:
    try:
        asyncio.run(FileArtifacts(settings.home / "artifacts").check())
    except GemsConfigError as error:
        return Finding("home", "bad", str(error))
    free = shutil.disk_usage(settings.home).free
    found = f"{settings.home}, {free / 2**30:,.1f} GiB free"
    return Finding("home", "warn" if free < _LOW else "ok", found, "free some space" if free < _LOW else "")


def _keys(settings: Settings, profile: Profile) -> Iterator[Finding]:
    for part in ("mllm", "images"):
        endpoint = settings.endpoint(profile, part)
        what = f"{part} key"
        if endpoint.provider == "sketch":
            continue
        if endpoint.api_key is not None:
            yield Finding(what, "ok", f"set, for {endpoint.name}")
        elif endpoint.base_url is not None:
            yield Finding(what, "ok", f"none; the server at {endpoint.base_url} may need none")
        else:
            name = profile.api_key_env or "OPENAI_API_KEY"
            yield Finding(what, "bad", f"none for {endpoint.name}", f"set {name} or GEMS_{part.upper()}_API_KEY")


def _skills(services: Services) -> Iterator[Finding]:
    try:
        names = [card.name for card in services.skills.cards()]
        warnings = services.skills.warnings()
    except GemsConfigError as error:
        yield Finding("skills", "bad", str(error), "mend GEMS_SKILLS, or `skills` in gems.toml")
        return
    yield Finding("skills", "ok", ", ".join(names) or "none")
    for warning in warnings:
        yield Finding("skills", "warn", warning, "mend the file; until then it is left out")


async def _models(services: Services, profile: Profile, console: Console) -> list[Finding]:
    """Three real calls: a question, a drawing, and a look at it."""
    remedy = "check the model's name, its address and its key, and that its server runs"
    try:
        models = await asyncio.to_thread(services.models, profile.name)
    except GemsError as error:
        return [Finding("models", "bad", str(error), "choose another with --profile, GEMS_MLLM and GEMS_IMAGES")]
    findings: list[Finding] = []
    drawn: list[bytes] = []
    steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("answers", lambda: _ask(models, services)),
        ("draws", lambda: _draw(models, profile, drawn)),
        ("looks", lambda: _look(models, services, drawn)),
    ]
    for what, step in steps:
        started = time.monotonic()
        with console.status(f"{what} ...") if console.is_terminal else nullcontext():
            try:
                found = await step()
            except Exception as error:
                findings.append(Finding(what, "bad", describe(error).message, remedy))
                break
        findings.append(Finding(what, "ok", f"{found} in {duration(time.monotonic() - started)}"))
    return findings


async def _ask(models: Models, services: Services) -> str:
    messages = compose("decompose", services.prompts.get("decompose", DECOMPOSE), {"request": {"prompt": PROMPT}})
    answer = await models.roles["decomposer"].ask(messages, Requirements)
    if answer.reply is None:
        raise GemsRunError(f"the mllm's reply was {answer.problem}; choose a model that can answer in JSON")
    return f"{len(answer.reply.requirements)} questions about {PROMPT!r}"


async def _draw(models: Models, profile: Profile, drawn: list[bytes]) -> str:
    width, height = Size.parse(profile.size)
    await asyncio.to_thread(models.images.check, PROMPT, width, height)
    drawing = await models.images.generate(DrawRequest(PROMPT, 1, width, height))
    drawn.append(drawing.png)
    return f"{width}x{height} pixels, {len(drawing.png):,} bytes"


async def _look(models: Models, services: Services, drawn: list[bytes]) -> str:
    picture = EncodedImage(drawn[0], "image/png", "The picture:")
    messages = compose("judge", services.prompts.get("judge", JUDGE), {"requirements": [QUESTION]}, [picture])
    answer = await models.roles["critic"].ask(messages, Verdicts)
    if answer.reply is None:
        raise GemsRunError(f"the mllm's reply was {answer.problem}; choose a model that can see pictures")
    said = [verdict.verdict for verdict in answer.reply.verdicts]
    return f"{QUESTION['question']!r}: {', '.join(said)}"


def _print(console: Console, finding: Finding) -> None:
    word, style = _STYLES[finding.health]
    console.print(
        Text.assemble((word, style), (f"  {finding.what:<10} ", "bold"), printable(finding.found)), soft_wrap=True
    )
    if finding.remedy:
        console.print(Text(f"{'':<17} to do: {finding.remedy}", style), soft_wrap=True)
