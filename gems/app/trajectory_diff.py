"""Where two trajectories part, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, cast

from gems.app.outcome import best_attempt, spent
from gems.app.prompt_diff import Piece, compare_prompts
from gems.core.state import Attempt, Forked, GemsState, StopReason, VerdictName

Side = Literal["first", "second"]

FACTS: Final = ("action", "parent", "seed", "artifact", "failure", "score")
"""What makes a drawing, besides its prompt, in the order in which it comes about."""
_NOUNS: Final[Mapping[str, str]] = {"artifact": "the picture", "parent": "the source"}


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs. None: that side has none."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class PromptChange:
    """Two prompts, word by word: `removed` stands in the first only, `added` in the second."""

    name: str
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A question that was answered differently of two drawings."""

    question: str
    first: VerdictName | None
    """None: it was not asked."""
    second: VerdictName | None


@dataclass(frozen=True, slots=True)
class AttemptDiff:
    """A drawing that is not the same in both; `only` names the side (`first`, `second`) that has it alone."""

    id: str
    only: Side | None
    prompt: list[Piece]
    """Empty where it is the same."""
    changes: list[Change]
    verdicts: list[VerdictChange]


@dataclass(frozen=True, slots=True)
class RoundDiff:
    """One round. Without attempts and experience, it is the same in both."""

    number: int
    only: Side | None
    attempts: list[AttemptDiff]
    experience: Change | None

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return self.only is None and not self.attempts and self.experience is None


@dataclass(frozen=True, slots=True)
class End:
    """What became of one side. `score` and `best` are of its best drawing."""

    thread_id: str
    status: str
    stop_reason: StopReason | None
    limit: str | None
    score: float | None
    best: str | None
    rounds: int
    forked: Forked | None
    usage: dict[str, float]


@dataclass(frozen=True, slots=True)
class TrajectoryDiff:
    """Everything in which two trajectories differ, in the order in which it came about."""

    same: bool
    parted: str | None
    """Where they part, in words; None: nowhere."""
    request: list[Piece]
    references: Change | None
    options: list[Change]
    plan: list[Change]
    prompts: list[PromptChange]
    """Of the plan."""
    removed: list[str]
    """Questions of the first alone."""
    added: list[str]
    """Questions of the second alone."""
    rounds: list[RoundDiff]
    ends: list[End]

    def as_json(self) -> dict[str, Any]:
        """The object as JSON values."""
        told = asdict(self)
        for number, each in zip(told["rounds"], self.rounds, strict=True):
            number["same"] = each.is_same
        return told


def compare_trajectories(first_id: str, first: GemsState, second_id: str, second: GemsState) -> TrajectoryDiff:
    """In what two trajectories differ. What they cost, and how long they took, is told but is no difference."""
    ends = [_end(first_id, first), _end(second_id, second)]
    diff = TrajectoryDiff(
        same=False,
        parted=None,
        request=_words(first["request"]["prompt"], second["request"]["prompt"]),
        references=_change(
            "references", first["request"].get("references", []), second["request"].get("references", [])
        ),
        options=_changes(first["options"], second["options"]),
        plan=_plan(first, second),
        prompts=_prompts(first, second),
        removed=_questions_of_one(first, second),
        added=_questions_of_one(second, first),
        rounds=_rounds(first, second),
        ends=ends,
    )
    parted = _parting(diff, first, second)
    return replace(diff, same=parted is None, parted=parted)


def _parting(diff: TrajectoryDiff, first: GemsState, second: GemsState) -> str | None:
    """The first thing in time that differs, in words; None: nothing does.

    Options are no event: what they brought about comes first. What a follow-up changed was the same before it.
    """
    names: dict[Side, str] = {"first": diff.ends[0].thread_id, "second": diff.ends[1].thread_id}
    if _first_words(first) != _first_words(second) or diff.references:
        return "at the request"
    if diff.plan or diff.prompts:
        return "at the plan"
    questions = bool(diff.removed or diff.added)
    followed_up = "said" in first["request"] or "said" in second["request"]
    if questions and not followed_up:
        return "at the requirements"
    if (parted := next((it for it in diff.rounds if not it.is_same), None)) is not None:
        return _parting_in(parted, names)
    if diff.request or questions:
        return "at a follow-up"
    if (diff.ends[0].status, diff.ends[0].stop_reason) != (diff.ends[1].status, diff.ends[1].stop_reason):
        return "at their ends"
    return "in their options alone" if diff.options else None


def _parting_in(parted: RoundDiff, names: Mapping[Side, str]) -> str:
    if parted.only:
        return f"before round {parted.number}: only {names[parted.only]} has it"
    place = f"in round {parted.number}"
    if not parted.attempts:
        return f"{place}: its experience"
    return f"{place}: {_parting_of(parted.attempts[0], names)}"


def _parting_of(attempt: AttemptDiff, names: Mapping[Side, str]) -> str:
    if attempt.only:
        return f"only {names[attempt.only]} has {attempt.id}"
    if attempt.prompt:
        return f"the prompt of {attempt.id}"
    # The score follows from the verdicts.
    facts = [it.name for it in attempt.changes if it.name != "score" or not attempt.verdicts]
    return f"{_NOUNS.get(facts[0], f'the {facts[0]}')} of {attempt.id}" if facts else f"the verdicts on {attempt.id}"


def _end(thread_id: str, state: GemsState) -> End:
    best = best_attempt(state)
    return End(
        thread_id=thread_id,
        status=state["status"],
        stop_reason=state["stop_reason"],
        limit=state["result"].get("limit"),
        score=best.get("score") if best else None,
        best=best["id"] if best else None,
        rounds=max((attempt["round"] for attempt in state["attempts"]), default=0),
        forked=state.get("forked"),
        usage=spent(state),
    )


def _first_words(state: GemsState) -> str:
    """The request before any follow-up."""
    request = state["request"]
    return request["said"][0] if request.get("said") else request["prompt"]


def _words(first: str, second: str) -> list[Piece]:
    return [] if first == second else compare_prompts(first, second)


def _change(name: str, first: Any, second: Any) -> Change | None:
    return None if first == second else Change(name, first, second)


def _changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Change]:
    names = dict.fromkeys([*first, *second])
    return [it for name in names if (it := _change(name, first.get(name), second.get(name)))]


def _plan(first: GemsState, second: GemsState) -> list[Change]:
    skills = [list(state["plan"]["skills"]) if "plan" in state else None for state in (first, second)]
    change = _change("skills", *skills)
    return [change] if change else []


def _prompts(first: GemsState, second: GemsState) -> list[PromptChange]:
    """First prompts that both plans have; one more or less is seen in the first round."""
    pairs = zip(*(state["plan"]["prompts"] if "plan" in state else [] for state in (first, second)), strict=False)
    return [PromptChange(f"prompt {n}", _words(*pair)) for n, pair in enumerate(pairs, start=1) if pair[0] != pair[1]]


def _questions_of_one(state: GemsState, other: GemsState) -> list[str]:
    others = {requirement["question"] for requirement in other["requirements"]}
    return [it["question"] for it in state["requirements"] if it["question"] not in others]


def _rounds(first: GemsState, second: GemsState) -> list[RoundDiff]:
    ours, theirs = _drawings(first), _drawings(second)
    notes = [{it["round"]: it["text"] for it in state["experiences"]} for state in (first, second)]
    rounds = []
    for number in sorted({it["round"] for it in [*ours.values(), *theirs.values()]}):
        here = [{name: it for name, it in side.items() if it["round"] == number} for side in (ours, theirs)]
        if not all(here):
            rounds.append(RoundDiff(number, "first" if here[0] else "second", [], None))
            continue
        compared = [_attempt(name, here[0].get(name), here[1].get(name), first, second) for name in here[0] | here[1]]
        texts = [note.get(number) for note in notes]
        # A round whose successor never came has no experience: that is seen in the successor.
        experience = _change("experience", *texts) if all(texts) else None
        rounds.append(RoundDiff(number, None, [it for it in compared if it], experience))
    return rounds


def _drawings(state: GemsState) -> dict[str, Attempt]:
    """Attempts by id, and as such the proposals that nobody has drawn yet."""
    waiting = {it["id"]: cast("Attempt", it) for it in state["proposals"]}
    return waiting | {it["id"]: it for it in state["attempts"]}


def _attempt(
    name: str, ours: Attempt | None, theirs: Attempt | None, first: GemsState, second: GemsState
) -> AttemptDiff | None:
    if ours is None or theirs is None:
        return AttemptDiff(name, "second" if ours is None else "first", [], [], [])
    prompt = _words(ours["prompt"], theirs["prompt"])
    facts = [cast("Mapping[str, Any]", {fact: it.get(fact) for fact in FACTS}) for it in (ours, theirs)]
    changes, verdicts = _changes(*facts), _verdicts(ours, theirs, first, second)
    return AttemptDiff(name, None, prompt, changes, verdicts) if prompt or changes or verdicts else None


def _verdicts(ours: Attempt, theirs: Attempt, first: GemsState, second: GemsState) -> list[VerdictChange]:
    """By question: the same id may mean another one elsewhere."""
    said = [_by_question(ours, first), _by_question(theirs, second)]
    both = [question for question in said[0] if question in said[1]]
    return [VerdictChange(it, said[0][it], said[1][it]) for it in both if said[0][it] != said[1][it]]


def _by_question(attempt: Attempt, state: GemsState) -> dict[str, VerdictName | None]:
    verdicts = attempt.get("verdicts", {})
    return {
        it["question"]: verdicts[it["id"]]["verdict"] if it["id"] in verdicts else None for it in state["requirements"]
    }
