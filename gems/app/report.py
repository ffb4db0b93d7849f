"""The report: one self-contained HTML page about one run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from gems import __version__
from gems.app.decoding import decoded
from gems.app.outcome import NO_VERDICT, best_attempt, spent
from gems.app.prompt_diff import Piece, compare_prompts
from gems.app.said import conversation, ruled_by_user, told_digest
from gems.app.score_plot import ScorePlot, plot_scores
from gems.app.wording import TICKS, cost, duration, money, percent, stopped_because
from gems.core.errors import GemsError
from gems.core.state import Attempt, Digest, Experience, GemsState, Request, Requirement, Verdict
from gems.memory.references import on_white

_SIDE: Final = {"best": 1024, "round": 640, "strip": 168}
"""Longest side, in pixels, of the pictures in the page."""
_QUALITY: Final = 86


class Pictures(Protocol):
    """Where images are read: what an `ArtifactStore` can, or less."""

    async def get(self, artifact: str) -> bytes:
        """The bytes of an image.

        Raises:
            GemsError: it is lost; its words stand in the image's place.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A requirement's verdict on one image."""

    requirement: Requirement
    verdict: Verdict
    by_user: bool
    """Whether a person gave it."""


class _Picture(NamedTuple):
    """An image as a data URI; without one, `missing` says why."""

    uri: str | None
    missing: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One attempt on the page. `picture` is a data URI; without one, `missing` says why."""

    attempt: Attempt
    picture: str | None
    missing: str
    change: list[Piece]
    repeats: bool
    answers: list[Answer]
    is_best: bool


@dataclass(frozen=True, slots=True)
class Round:
    """One round on the page."""

    number: int
    thumbnail: str | None
    candidates: list[Candidate]
    diagnosis: str
    experience: Experience | None
    remarks: list[str]
    """What the user said after it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A requirement through all rounds: the verdict on the best-scored image of each, then the final one."""

    requirement: Requirement
    rounds: list[Answer | None]
    final: Answer


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the template shows."""

    thread_id: str
    state: GemsState
    models: Mapping[str, str]
    said: list[str]
    """The user's own words: the request, and what followed."""
    wishes: list[str]
    """What the user said of the plan."""
    digest: Digest | None
    references: list[str]
    """Data URIs of the user's reference images."""
    best: Candidate | None
    rows: list[Row]
    judged: list[int]
    rounds: list[Round]
    plot: ScorePlot | None
    usage: Mapping[str, float]
    started: str


async def render_report(
    thread_id: str, state: GemsState, artifacts: Pictures, models: Mapping[str, str] | None = None
) -> str:
    """The page as HTML. It loads nothing: pictures are scaled JPEGs inside it.

    Args:
        thread_id: The run's thread.
        state: The thread's state; a run that is not finished has a report too.
        artifacts: Where the images are.
        models: Names of the models by what they do, for the table of options.
    """
    best = best_attempt(state)
    referred = state.get("request", Request(prompt="")).get("references", [])
    references = [await _stored_picture(artifact, artifacts, "strip") for artifact in referred]
    page = Page(
        thread_id=thread_id,
        state=state,
        models=models or {},
        said=conversation(state),
        wishes=_remarks(state, 0),
        digest=told_digest(state),
        references=[picture.uri for picture in references if picture.uri],
        best=await _candidate(state, best, None, artifacts, "best") if best else None,
        rows=_rows(state, best),
        judged=_judged_rounds(state),
        rounds=await _rounds(state, artifacts),
        plot=plot_scores(state.get("attempts", [])),
        usage=spent(state),
        started=_date(state),
    )
    return await decoded(_render, page)


def _render(page: Page) -> str:
    return _environment().get_template("report.html.jinja").render(page=page, version=__version__)


def _environment() -> Environment:
    # Prompts and evidence come from people and models and may hold HTML.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, duration=duration, cost=cost, money=money)
    environment.globals.update(ticks=TICKS, because=stopped_because)
    return environment


async def _rounds(state: GemsState, artifacts: Pictures) -> list[Round]:
    attempts = state.get("attempts", [])
    experiences = {experience["round"]: experience for experience in state.get("experiences", [])}
    # The diagnosis in the state is of the round before the newest proposals.
    diagnosed = max((proposal["round"] for proposal in state.get("proposals", [])), default=0) - 1
    thoughts = {thought["round"]: thought["text"] for thought in state.get("thoughts", [])}
    rounds, before = [], None
    for number in sorted({attempt["round"] for attempt in attempts}):
        drawn = [attempt for attempt in attempts if attempt["round"] == number]
        candidates = [await _candidate(state, attempt, before, artifacts, "round") for attempt in drawn]
        diagnosis = state.get("thought", "") if number == diagnosed else thoughts.get(number, "")
        leader = _leader(drawn)
        thumbnail = (await _picture(leader, artifacts, "strip")).uri
        learned = experiences.get(number)
        rounds.append(Round(number, thumbnail, candidates, diagnosis, learned, _remarks(state, number)))
        before = leader["prompt"]
    return rounds


def _remarks(state: GemsState, number: int) -> list[str]:
    return [remark["text"] for remark in state.get("remarks", []) if remark["round"] == number]


async def _picture(attempt: Attempt, artifacts: Pictures, use: str) -> _Picture:
    if "artifact" not in attempt:
        return _Picture(None, attempt.get("error", "not drawn yet"))
    return await _stored_picture(attempt["artifact"], artifacts, use)


async def _stored_picture(artifact: str, artifacts: Pictures, use: str) -> _Picture:
    try:
        return _Picture(await decoded(_data_uri, await artifacts.get(artifact), _SIDE[use]), "")
    except (GemsError, OSError) as error:
        # One lost picture must not cost the person the rest of the page.
        return _Picture(None, str(error))


async def _candidate(
    state: GemsState, attempt: Attempt, before: str | None, artifacts: Pictures, use: str
) -> Candidate:
    picture = await _picture(attempt, artifacts, use)
    best = best_attempt(state)
    given = (_answer(state, attempt, requirement) for requirement in state.get("requirements", []))
    # An edit's prompt is an instruction: compared with the prompt before it, everything would look changed.
    compared = None if attempt["action"] == "edit" else before
    return Candidate(
        attempt=attempt,
        picture=picture.uri,
        missing=picture.missing,
        change=compare_prompts(compared, attempt["prompt"]),
        repeats=compared == attempt["prompt"],
        answers=[answer for answer in given if answer is not None],
        is_best=best is not None and best["id"] == attempt["id"],
    )


def _rows(state: GemsState, best: Attempt | None) -> list[Row]:
    attempts = [attempt for attempt in state.get("attempts", []) if "verdicts" in attempt]
    leaders = [_leader([it for it in attempts if it["round"] == number]) for number in _judged_rounds(state)]
    rows = []
    for requirement in state.get("requirements", []):
        final = _answer(state, best, requirement) if best else None
        judged = [_answer(state, leader, requirement) for leader in leaders]
        rows.append(Row(requirement, judged, final or Answer(requirement, NO_VERDICT, by_user=False)))
    return rows


def _answer(state: GemsState, attempt: Attempt, requirement: Requirement) -> Answer | None:
    verdict = attempt.get("verdicts", {}).get(requirement["id"])
    if verdict is None:
        return None
    return Answer(requirement, verdict, by_user=requirement["id"] in ruled_by_user(state, attempt))


def _judged_rounds(state: GemsState) -> list[int]:
    return sorted({attempt["round"] for attempt in state.get("attempts", []) if "verdicts" in attempt})


def _leader(attempts: Sequence[Attempt]) -> Attempt:
    return max(attempts, key=lambda attempt: attempt.get("score", -1.0))


def _data_uri(content: bytes, side: int) -> str:
    with Image.open(io.BytesIO(content)) as opened:
        flat = on_white(opened)
    flat.thumbnail((side, side), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    flat.save(jpeg, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def _date(state: GemsState) -> str:
    spans: list[Any] = state.get("spans", [])
    if not spans:
        return ""
    start = datetime.fromtimestamp(spans[0][0], UTC)
    return f"{start.day} {start:%B %Y, %H:%M} UTC"
