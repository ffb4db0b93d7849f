"""`gems doctor`: is this machine ready? Each thing that is not comes with what to do about it."""

from __future__ import annotations

import asyncio
import platform
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Final, NamedTuple

import httpx
from rich.console import Console
from rich.text import Text

from gems import __version__
from gems.app.accelerators import Devices, TorchDevices
from gems.app.endpoint_checks import (
    SECONDS,
    Finding,
    Part,
    check_key,
    check_money,
    check_server,
    parts_of,
    say_abilities,
)
from gems.app.local_checks import LocalChecks, check_packages
from gems.app.outcome import describe
from gems.app.packages import Version, installed_version
from gems.app.terminal import make_console, printable
from gems.app.wording import duration
from gems.core.context import Size
from gems.core.errors import GemsConfigError, GemsError, GemsRunError
from gems.core.messages import EncodedImage, compose
from gems.core.ports import DrawRequest, Models, Services
from gems.core.profiles import Profile
from gems.core.replies import Requirements, Verdicts
from gems.core.settings import Settings, load_settings
from gems.core.state import Role
from gems.graph import make_services
from gems.memory import FileArtifacts, SqlRuns
from gems.memory.png import to_png
from gems.memory.shared_artifacts import CACHE, SharedArtifacts
from gems.memory.stores import images_of, stores_of
from gems.nodes.critic import JUDGE
from gems.nodes.decomposer import DECOMPOSE

PROMPT: Final = "a red apple"
QUESTION: Final = {"id": "r1", "question": "Is there an apple?", "kind": "object"}
_LOW: Final = 2**30
"""Free bytes below which a warning is due: a few hundred images."""
_STYLES: Final = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "bad": ("bad ", "bold red")}
_REMEDY: Final = "try again; if that does not help, look at what its server prints"


def examine(
    profile_name: str | None,
    services: Services | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    devices: Devices | None = None,
    version: Version = installed_version,
) -> int:
    """Look at everything and print it. Answers 0 when nothing is bad, else 2.

    Args:
        profile_name: The profile to check; None is the configured one.
        services: Whose models are called; default: what this machine's settings say.
        transport: How servers are looked at; default: by the network.
        devices: Looks for GPUs, where weights of one's own draw; default: in this machine.
        version: Tells which packages are installed.
    """
    console = make_console(stderr=False)
    bad = False
    here = _Here(transport, devices or TorchDevices(), version)
    for finding in _findings(profile_name, services, here, console):
        bad = bad or finding.health == "bad"
        _print(console, finding)
    console.print()
    ready = Text("Not ready: see the lines marked bad.", "bold red") if bad else Text("Ready.", "bold green")
    console.print(ready)
    return 2 if bad else 0


class _Here(NamedTuple):
    """How it is looked at what lies outside of GEMS."""

    transport: httpx.AsyncBaseTransport | None
    devices: Devices
    version: Version


def _findings(profile_name: str | None, services: Services | None, here: _Here, console: Console) -> Iterator[Finding]:
    yield _python()
    try:
        settings = load_settings()
        profile = settings.resolve(profile_name)
    except GemsConfigError as error:
        yield Finding("settings", "bad", str(error))
        return
    services = services or make_services(settings)
    parts = parts_of(settings, profile)
    yield _profile(profile, parts)
    if parts[-1].endpoint.provider == "sketch":
        yield from check_packages(_drawing_packages(profile), here.version)
    yield _home(settings)
    yield from _artifacts(settings)
    yield from _database(settings)
    yield from _skills(services)
    if settings.replay:
        yield Finding("replay", "ok", f"answers and pictures come from {settings.replay}; no server is asked")
        return
    local = _local_checks(profile, parts, here)
    if local is not None:
        looked = []
        for finding in local.findings():
            looked.append(finding)
            yield finding
        if any(finding.health == "bad" for finding in looked):
            parts = parts[:-1]
    yield from check_money(profile, parts)
    keys = [check_key(part) for part in parts]
    yield from filter(None, keys)
    parts = _well(parts, keys)
    servers = asyncio.run(_servers(parts, here.transport))
    yield from filter(None, servers)
    parts = _well(parts, servers)
    if local is not None:
        yield from asyncio.run(_turns(local, parts, here.transport))
    if any(part.endpoint.is_paid for part in parts):
        console.print(Text("Now real calls, a picture and a question to each model, which cost money.", "yellow"))
    size = local.trial if local is not None else Size.parse(profile.size)
    called = asyncio.run(_models(services, profile.name, size, parts, console))
    yield from called.findings
    yield from filter(None, (say_abilities(settings, part) for part in called.answered if part.roles))


def _local_checks(profile: Profile, parts: Sequence[Part], here: _Here) -> LocalChecks | None:
    """What looks at weights of one's own; None where others draw."""
    if parts[-1].endpoint.provider != "diffusers":
        return None
    return LocalChecks(profile, parts, here.devices, here.version)


def _well(parts: Sequence[Part], findings: Sequence[Finding | None]) -> list[Part]:
    """The parts of which it is worth looking further."""
    return [part for part, it in zip(parts, findings, strict=True) if it is None or it.health != "bad"]


def _python() -> Finding:
    # Older versions of Python cannot install this package, so there is nothing to judge.
    return Finding(
        "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, gems {__version__}"
    )


def _profile(profile: Profile, parts: Sequence[Part]) -> Finding:
    *chats, images = parts
    answering = " and ".join(
        part.endpoint.name if part.name == "mllm" else f"{part.endpoint.name} ({part.name})" for part in chats
    )
    found = f"{profile.name}: {answering} answers, {images.endpoint.name} draws"
    embedded = [part.endpoint.provider == "sketch" for part in parts]
    if any(embedded[:-1]) and not embedded[-1]:
        remedy = "the embedded engine understands its own pictures only: choose another mllm; `gems init` can help"
        return Finding("profile", "warn", found, remedy)
    if embedded[-1] and not all(embedded):
        remedy = "the embedded engine refuses words it does not know, which a real model will use: choose other images"
        return Finding("profile", "warn", found, remedy)
    return Finding("profile", "ok", found)


def _drawing_packages(profile: Profile) -> dict[str, str]:
    """What the embedded engine draws with, and what to do where it is not installed."""
    return {name: f"pip install {name}; the profile {profile.name!r} draws with it" for name in ("torch", "diffusers")}


def _home(settings: Settings) -> Finding:
    images = images_of(settings) if settings.artifacts_url is None else FileArtifacts(settings.home / CACHE)
    try:
        asyncio.run(images.check())
    except GemsConfigError as error:
        return Finding("home", "bad", str(error))
    free = shutil.disk_usage(settings.home).free
    found = f"{settings.home}, {free / 2**30:,.1f} GiB free"
    return Finding("home", "warn" if free < _LOW else "ok", found, "free some space" if free < _LOW else "")


def _artifacts(settings: Settings) -> Iterator[Finding]:
    """Whether the store that machines share takes an object, and gives it back."""
    started = time.monotonic()
    try:
        store = images_of(settings)
        if not isinstance(store, SharedArtifacts):
            return
        asyncio.run(store.probe())
    except GemsError as error:
        yield Finding("artifacts", "bad", str(error))
    else:
        took = duration(time.monotonic() - started)
        yield Finding("artifacts", "ok", f"{store.shelf.place}: written, read and removed in {took}")


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        return
    try:
        asyncio.run(SqlRuns(stores_of(settings).database("runs")).recent(1))
    except GemsConfigError as error:
        yield Finding("database", "bad", str(error))
    else:
        yield Finding("database", "ok", "Postgres answers")


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


async def _servers(parts: Sequence[Part], transport: httpx.AsyncBaseTransport | None) -> list[Finding | None]:
    async with httpx.AsyncClient(timeout=SECONDS, transport=transport) as client:
        return await asyncio.gather(*(check_server(client, part) for part in parts))


async def _turns(
    local: LocalChecks, answered: Sequence[Part], transport: httpx.AsyncBaseTransport | None
) -> list[Finding]:
    async with httpx.AsyncClient(timeout=SECONDS, transport=transport) as client:
        return await local.turns(client, answered)


class _UnusableReply(GemsRunError):
    """The model answered, but not with what it was asked for."""


class _Step(NamedTuple):
    part: Part
    what: str
    take: Callable[[], Awaitable[str]]


class _Taken(NamedTuple):
    finding: Finding
    answered: bool
    """Whether a reply came, of use or not."""


class _Called(NamedTuple):
    findings: list[Finding]
    answered: list[Part]
    """The parts of which a call was answered."""


async def _models(services: Services, profile: str, size: Size, parts: Sequence[Part], console: Console) -> _Called:
    """Real calls: a question to each model that answers, a drawing, and a look at it by the critic's."""
    if not parts:
        return _Called([], [])
    try:
        models = await asyncio.to_thread(services.models, profile)
    except GemsError as error:
        remedy = "choose another with --profile, GEMS_MLLM and GEMS_IMAGES"
        return _Called([Finding("models", "bad", str(error), remedy)], [])
    drawn: list[bytes] = []
    steps = list(_first_steps(models, services, size, parts, drawn))
    taken = [await _take(step, console) for step in steps]
    critic = next((part for part in parts if "critic" in part.roles), None)
    if drawn and critic is not None:
        steps.append(_Step(critic, "looks", lambda: _look(models, services, drawn[0])))
        taken.append(await _take(steps[-1], console))
    answering = {step.part.name for step, it in zip(steps, taken, strict=True) if it.answered}
    return _Called([it.finding for it in taken], [part for part in parts if part.name in answering])


def _first_steps(
    models: Models, services: Services, size: Size, parts: Sequence[Part], drawn: list[bytes]
) -> Iterator[_Step]:
    for part in parts:
        if not part.roles:
            yield _Step(part, "draws", lambda: _draw(models, size, drawn))
        elif part.roles != ("critic",):  # which shows what it can when it looks
            what = "answers" if part.name == "mllm" else f"{part.name} answers"
            role = next(role for role in part.roles if role != "critic")
            yield _Step(part, what, lambda role=role: _ask(models, services, role))  # type: ignore[misc]


async def _take(step: _Step, console: Console) -> _Taken:
    started = time.monotonic()
    with console.status(f"{step.what} ...") if console.is_terminal else nullcontext():
        try:
            found = await step.take()
        except Exception as error:
            # Where the model's name, its key or its answers are at fault, the error says what to do itself.
            remedy = "" if isinstance(error, GemsConfigError | _UnusableReply) else _REMEDY
            bad = Finding(step.what, "bad", describe(error).message, remedy)
            return _Taken(bad, isinstance(error, _UnusableReply))
    return _Taken(Finding(step.what, "ok", f"{found} in {duration(time.monotonic() - started)}"), True)


async def _ask(models: Models, services: Services, role: Role) -> str:
    messages = compose("decompose", services.prompts.get("decompose", DECOMPOSE), {"request": {"prompt": PROMPT}})
    answer = await models.roles[role].ask(messages, Requirements)
    if answer.reply is None:
        raise _UnusableReply(f"the mllm's reply was {answer.problem}; choose a model that can answer in JSON")
    return f"{len(answer.reply.requirements)} questions about {PROMPT!r}"


async def _draw(models: Models, size: Size, drawn: list[bytes]) -> str:
    width, height = size
    await asyncio.to_thread(models.images.check, PROMPT, width, height)
    drawing = await models.images.generate(DrawRequest(PROMPT, 1, width, height))
    try:
        drawn.append(await asyncio.to_thread(to_png, drawing.png))
    except ValueError as error:
        raise GemsRunError(f"the image model answered with bytes that are no image: {error}") from error
    return f"{width}x{height} pixels, {len(drawing.png):,} bytes"


async def _look(models: Models, services: Services, png: bytes) -> str:
    picture = EncodedImage(png, "image/png", "The picture:")
    messages = compose("judge", services.prompts.get("judge", JUDGE), {"requirements": [QUESTION]}, [picture])
    answer = await models.roles["critic"].ask(messages, Verdicts)
    if answer.reply is None:
        raise _UnusableReply(f"the mllm's reply was {answer.problem}; choose a model that can see pictures")
    said = [verdict.verdict for verdict in answer.reply.verdicts]
    return f"{QUESTION['question']!r}: {', '.join(said)}"


def _print(console: Console, finding: Finding) -> None:
    word, style = _STYLES[finding.health]
    console.print(
        Text.assemble((word, style), (f"  {finding.what:<11} ", "bold"), printable(finding.found)), soft_wrap=True
    )
    if finding.remedy:
        console.print(Text(f"{'':<18} to do: {printable(finding.remedy)}", style), soft_wrap=True)
