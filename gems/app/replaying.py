"""A recorded trajectory run again: its turns, the services that answer from the record, and the comparison of both ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from gems.app.runner import OPTIONS, thread_config
from gems.app.trajectory_diff import compare_trajectories
from gems.backends.replaying import Record, replaying_models
from gems.core.errors import GemsConfigError, GemsError
from gems.core.ports import Lesson, LessonQuery, Models, SkillCard, SkillText
from gems.core.profiles import BUILT_IN, Profile
from gems.core.settings import Settings
from gems.core.state import Attempt, GemsState, Options, merge_attempts
from gems.graph import GemsGraph, build_graph
from gems.graph.services import MachineServices
from gems.memory import FileArtifacts
from gems.memory.archive import Archive, Saved
from gems.memory.artifacts import artifact_id
from gems.memory.migrations import up_to_date
from gems.memory.png import without_first_text
from gems.nodes.asking import show
from gems.nodes.given import CHANGEABLE
from gems.nodes.refiner import VIEW_SIDE

THREAD: Final = "replay"
_FIRST: Final = (
    "profile",
    "mode",
    "max_rounds",
    "max_images",
    "max_calls",
    "max_tokens",
    "max_cost",
    "patience",
    "candidates",
    "seed",
    "skills",
    "review",
    "memory",
    "lessons",
)
"""Options of a first turn. `max_seconds` is not among them: how long things took then is not how long they take now."""

_ENTRY: Final = 2
"""Checkpoints behind an input when the first node has done its work: one is of the input itself."""


@dataclass(slots=True)
class Turn:
    """One invocation: its input, its options, and what a person answered in it. Without input, what was begun goes on."""

    given: dict[str, Any] | None
    options: dict[str, Any] = field(default_factory=dict)
    answers: list[Any] = field(default_factory=list)
    steps: int = 0
    """Checkpoints that were written in it."""


class Recorded(NamedTuple):
    """A trajectory as its thread holds it."""

    state: GemsState
    turns: list[Turn]
    start: Saved | None
    """The checkpoint that it begins with, if it is a branch."""
    calls: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay compares. `parted` says where, in words; None: it came to the same."""

    parted: str | None
    calls: int
    images: int
    rounds: int
    unanswered: list[str]
    """Questions and drawings, in order, that had no answer in the record; the first may say why they part."""
    left: int
    """Recorded calls that were not made again."""
    notes: list[str]
    """What the comparison leaves out, in words."""


def read_record(archive: Archive) -> Recorded:
    """The latest trajectory of a thread.

    Raises:
        GemsConfigError: nothing was begun, or its first steps are not in the archive and cannot be told from its last.
    """
    saved = [it for it in archive.checkpoints() if not it.namespace]
    values = saved[-1].checkpoint["channel_values"]
    if "request" not in values:
        raise GemsConfigError("the run was killed before its first step was done: there is nothing to replay yet")
    state = up_to_date(cast("GemsState", values))
    pending: list[Attempt] = [it for _, name, value in saved[-1].writes if name == "attempts" for it in value or []]
    state = cast("GemsState", {**state, "attempts": merge_attempts(state["attempts"], pending)})
    calls = archive.calls().get(state["trajectory_id"], [])
    begun = _beginning(saved, state["trajectory_id"])
    if begun is None:
        return Recorded(state, [_told_turn(state)], None, calls)
    ours = saved[begun:]
    is_branch = ours[0].metadata.get("source") == "update"
    return Recorded(state, _turns(ours, is_branch=is_branch), ours[0] if is_branch else None, calls)


def _beginning(saved: Sequence[Saved], trajectory_id: str) -> int | None:
    """The place of the checkpoint that a trajectory begins with: its input, or what a branch was made of."""
    mine = [n for n, it in enumerate(saved) if it.checkpoint["channel_values"].get("trajectory_id") == trajectory_id]
    if not mine:
        return None
    first = saved[mine[0]]
    if first.metadata.get("source") == "update" and first.checkpoint["channel_values"].get("forked"):
        return mine[0]
    before = [n for n in range(mine[0]) if saved[n].metadata.get("source") == "input"]
    if not before:
        return None
    # An input that was refused leads nowhere: the last one before the trajectory is its own, if no step is missing.
    steps = [saved[n].metadata.get("step", 0) for n in (before[-1], mine[0])]
    return before[-1] if steps[1] - steps[0] == mine[0] - before[-1] else None


def _turns(saved: Sequence[Saved], *, is_branch: bool) -> list[Turn]:
    turns = [Turn(None, steps=_ENTRY)] if is_branch else []
    for it in saved:
        if it.metadata.get("source") == "input":
            turns.append(Turn(dict(it.checkpoint["channel_values"].get("__start__", {}))))
            continue
        turn = turns[-1]
        turn.steps += 1
        turn.options |= _recorded_options(it)
        turn.answers.extend(_answers(it))
    # What was refused, or killed, before its first step was done has changed nothing.
    return [turn for turn in turns if turn.steps >= _ENTRY]


def _recorded_options(saved: Saved) -> dict[str, Any]:
    """The options in force: those of the state, and over them what a command gave to go on with."""
    options = up_to_date(cast("GemsState", saved.checkpoint["channel_values"])).get("options", {})
    given = json.loads(str(saved.metadata.get(OPTIONS, "{}")))
    return {**options, **{name: value for name, value in given.items() if name in CHANGEABLE}}


def _answers(saved: Saved) -> list[Any]:
    """What a person answered at a checkpoint; the last word counts, since one that did not fit was refused."""
    said = [value for _, channel, value in saved.writes if channel == "__resume__"]
    lists = [value for value in said if isinstance(value, list) and value]
    if lists:
        return [lists[-1][-1]]
    return said[-1:]


def _told_turn(state: GemsState) -> Turn:
    """The one turn of a run, told from its end.

    Raises:
        GemsConfigError: it had more than one, or a person had a say in it, which the end does not tell.
    """
    request = state["request"]
    if "said" in request or state.get("forked") or state["options"]["review"] != "none" or state["rulings"]:
        raise GemsConfigError(
            "the first checkpoints are not there (they were pruned, or exported with --last), and its end alone does not "
            "tell what a person said on the way: it cannot be replayed"
        )
    given: dict[str, Any] = {"prompt": request["prompt"], "references": request.get("references", [])}
    return Turn(given, dict(state["options"]))


async def replay_record(recorded: Recorded, archive: Archive) -> Replayed:
    """Run it again in a folder that is deleted afterwards, and compare.

    Raises:
        GemsConfigError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="gems-replay-") as folder:
        settings = Settings(home=Path(folder), profiles=dict(BUILT_IN))
        services = await _services(settings, recorded, archive)
        saver = InMemorySaver()
        graph = build_graph(services, checkpointer=saver)
        if recorded.start is not None:
            await _begin(saver, recorded.start)
        problem = ""
        try:
            for number, turn in enumerate(recorded.turns):
                await _take(graph, turn, is_first=number == 0)
        except GemsError as error:
            problem = str(error)
        again = cast("GemsState", (await graph.aget_state(thread_config(THREAD))).values)
    return _compared(recorded, again, services.record, problem)


async def _begin(saver: InMemorySaver, start: Saved) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": THREAD, "checkpoint_ns": ""}}
    checkpoint: Any = start.checkpoint
    metadata: Any = start.metadata
    await saver.aput(config, checkpoint, metadata, start.checkpoint["channel_versions"])


async def _take(graph: GemsGraph, turn: Turn, *, is_first: bool) -> None:
    untyped: Any = graph
    names = _FIRST if is_first and turn.given is not None else (*CHANGEABLE, "review")
    context = {name: turn.options[name] for name in names if turn.options.get(name) is not None}
    context.pop("max_seconds", None)
    if "seed" in context:
        context["size"] = f"{turn.options['width']}x{turn.options['height']}"
    context["accept_changes"] = True
    config = thread_config(THREAD)
    await untyped.ainvoke(turn.given, config, context=context)
    for answer in turn.answers:
        if not (await graph.aget_state(config)).interrupts:
            return
        await untyped.ainvoke(Command(resume=answer), config, context=context)


class ReplayServices(MachineServices):
    """Services of a home of its own, with models that answer from a record."""

    def __init__(self, settings: Settings, record: Record, models: Models, profile: Profile, **parts: Any) -> None:
        """Take the record, and `parts` in place of the machine's own."""
        super().__init__(settings)
        self.record = record
        self._recorded = models
        self._profile = profile
        # Values in the instance's dictionary win over cached properties of the same name.
        self.__dict__.update(parts)

    def defaults(self, profile: str | None) -> Profile:
        """The profile as the run's options tell it."""
        return self._profile.model_copy(update={"name": profile or self._profile.name})

    def _make(self, profile: str) -> Models:  # noqa: ARG002
        return self._recorded


async def _services(settings: Settings, recorded: Recorded, archive: Archive) -> ReplayServices:
    state, calls = recorded.state, recorded.calls
    artifacts = RecordedArtifacts(settings.home / "artifacts")
    for artifact in archive.images:
        await artifacts.put(await asyncio.to_thread(archive.image, artifact))
    artifacts.known = set(archive.images)
    shown_as = {}
    for artifact in {image["artifact"] for call in calls for image in call["images"]} & artifacts.known:
        small = await show(artifacts, artifact, "", VIEW_SIDE)
        shown_as[hashlib.sha256(small.content).hexdigest()] = artifact
    record = Record(state, calls, shown_as)
    models = replaying_models(record, state, calls, artifacts.get)
    return ReplayServices(
        settings,
        record,
        models,
        _profile(recorded.turns[0].options or dict(state["options"])),
        artifacts=artifacts,
        skills=RecordedSkills(state, calls),
        lessons=RecordedLessons(state, calls),
        prompts={},
    )


def _profile(options: Mapping[str, Any]) -> Profile:
    """A profile whose defaults are the options: those that are none must not come from elsewhere."""
    told: dict[str, Any] = {
        name: options[name] for name in (*_FIRST, "overlap") if name in Profile.model_fields and name in options
    }
    profile = BUILT_IN["sketch"]
    critic = profile.critic.model_copy(update={"mode": options["critic"]})
    size = f"{options['width']}x{options['height']}"
    return profile.model_copy(
        update={**told, "name": options["profile"], "size": size, "critic": critic, "max_seconds": None}
    )


class RecordedArtifacts(FileArtifacts):
    """A store that knows the recorded images again, whatever drawing key they are labelled with now."""

    known: set[str] = set()  # noqa: RUF012  # replaced, never changed

    async def put(self, content: bytes) -> str:
        """Store the bytes; a recorded image that was only labelled anew keeps its id."""
        try:
            artifact = artifact_id(without_first_text(content))
        except ValueError:
            artifact = ""
        return artifact if artifact in self.known else await super().put(content)


class RecordedSkills:
    """The skills that the run's planner saw and read."""

    def __init__(self, state: GemsState, calls: Iterable[Mapping[str, Any]]) -> None:
        """Read them from the journal; their digests are in the plan."""
        self._cards: list[SkillCard] = []
        self._texts: dict[str, SkillText] = {}
        digests = state["plan"]["skills"] if "plan" in state else {}
        for call in calls:
            if call["task"] == "choose_skills":
                self._cards = [SkillCard(**card) for card in call["fields"]["skills"]]
            elif call["task"] == "write_prompts":
                for skill in call["fields"]["skills"]:
                    name = skill["name"]
                    self._texts[name] = SkillText(name, skill["instructions"], digests.get(name, ""), ())

    def cards(self) -> list[SkillCard]:
        """What could be chosen."""
        return self._cards

    def warnings(self) -> list[str]:
        """Those of then are of no use now."""
        return []

    def read(self, name: str) -> SkillText:
        """The text that was read.

        Raises:
            GemsConfigError: it was not.
        """
        if name not in self._texts:
            raise GemsConfigError(f"the record holds no skill {name!r}")
        return self._texts[name]


class RecordedLessons:
    """The lessons that the run's roles were given, in the order in which they were. Nothing is learned anew."""

    def __init__(self, state: GemsState, calls: Iterable[Mapping[str, Any]]) -> None:
        """Read them from the journal; their ids are in the state."""
        ids = {(it["kind"], it["text"]): it["id"] for it in state["lessons"]}
        self._given = [
            [
                Lesson(ids.get((it["kind"], it["advice"]), ""), it["kind"], "", (), it["when"], it["advice"])
                for it in call["fields"].get("lessons", [])
            ]
            for call in calls
            if call["task"] in ("write_prompts", "refine")
        ]

    async def fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:  # noqa: ARG002
        """What was given next."""
        return self._given.pop(0) if self._given else []

    async def learn(self, owner: str, found: Sequence[Lesson], occasion: str = "") -> None:
        """Nothing is kept."""

    async def credit(self, owner: str, outcomes: Mapping[str, bool], occasion: str = "") -> None:
        """Nothing is counted."""

    async def check(self) -> None:
        """They were read when the record was."""

    async def all(self, owner: str) -> list[Lesson]:  # noqa: ARG002
        """None: a record only gives what was given."""
        return []

    async def edit(self, owner: str, lesson_id: str, *, when: str | None = None, advice: str | None = None) -> Lesson:
        """Nobody may.

        Raises:
            GemsConfigError: always.
        """
        del owner, when, advice
        raise GemsConfigError(f"lesson {lesson_id!r} is of a record, which cannot be changed")

    async def delete(self, owner: str, lesson_id: str) -> None:
        """Nobody may.

        Raises:
            GemsConfigError: always.
        """
        del owner
        raise GemsConfigError(f"lesson {lesson_id!r} is of a record, which cannot be changed")


def _compared(recorded: Recorded, again: GemsState, record: Record, problem: str) -> Replayed:
    state, notes = recorded.state, list[str]()
    if state["status"] == "running":
        notes.append("the run is not finished: it is compared as far as it went")
    elif state["stop_reason"] == "budget" and state["result"].get("limit") == "max_seconds":
        notes.append("max_seconds ended the run, which depends on the clock: it is compared as far as it went")
    if "options" not in again:
        parted: str | None = f"at its beginning: {problem or 'nothing was begun'}"
    else:
        options = cast("Options", {**state["options"]})
        there = cast("GemsState", {**again, "options": options})
        here = state
        if notes:
            there = _as_far_as(here, there)
        parted = compare_trajectories("the record", here, "the replay", there).parted
    if parted and problem and "options" in again:
        parted = f"{parted} ({problem})"
    rounds = max((attempt["round"] for attempt in state["attempts"]), default=0)
    return Replayed(parted, record.calls, record.images, rounds, record.unanswered, record.left, notes)


def _as_far_as(state: GemsState, again: GemsState) -> GemsState:
    """The replay without what came after the record's last step."""
    recorded = {attempt["id"]: attempt for attempt in state["attempts"]}
    attempts = []
    for attempt in again["attempts"]:
        if attempt["id"] in recorded:
            unjudged = "verdicts" not in recorded[attempt["id"]]
            left_out = ("verdicts", "score") if unjudged else ()
            attempts.append({name: value for name, value in attempt.items() if name not in left_out})
    told = {it["round"] for it in state["experiences"]}
    cut: dict[str, Any] = {
        **again,
        "attempts": attempts,
        "proposals": state["proposals"],
        "experiences": [it for it in again["experiences"] if it["round"] in told],
        "status": state["status"],
        "stop_reason": state["stop_reason"],
        "result": state["result"],
    }
    for late in ("plan", "requirements"):
        if not state.get(late):
            cut.pop(late, None)
    cut.setdefault("requirements", [])
    return cast("GemsState", cut)
