"""What the measurement of lessons says: whether they pay, which ones did it, and where the chain of learning breaks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console

from gems.app.terminal import one_line
from gems.core.intervals import share
from gems.core.ports import Lesson
from gems.evals.figures import print_table
from gems.evals.lessons_trial import Tried, embedding
from gems.evals.outcomes import Outcome
from gems.evals.paired import Comparison, compare
from gems.memory.lesson_choice import faded
from gems.memory.likeness import FLOOR, Likeness

if TYPE_CHECKING:
    from gems.evals.lessons import Measured

WIRING: Final = (
    "The embedded engine's roles are rules: they write lessons out of a closed set of advice, and read that set alone. So "
    "this shows that lessons are wired through the program, and what this engine gains by its own rules; it is no evidence "
    "about what language models learn."
)
_DISTIL: Final = "distil"
_LONGEST: Final = 88
"""Characters of a lesson."""
_QUARTILES: Final = 4
_GAINS: Final = {"true at the end": 1, "rounds": -1, "calls of chat models": -1}
"""What decides whether lessons pay, and which way is better."""


class Pair(NamedTuple):
    """One prompt without lessons and with them."""

    without: Tried
    having: Tried

    @property
    def is_whole(self) -> bool:
        """Whether both runs could be made."""
        return not (self.without.outcome.error or self.having.outcome.error)


def paired(without: Sequence[Tried], having: Sequence[Tried]) -> list[Pair]:
    """The runs of the same prompts and seeds.

    Raises:
        ValueError: they are not.
    """
    pairs = [Pair(*it) for it in zip(without, having, strict=True)]
    for one, other in ((it.without.outcome, it.having.outcome) for it in pairs):
        if (one.prompt, one.seed) != (other.prompt, other.seed):
            raise ValueError(f"{one.prompt!r} (seed {one.seed}) is paired with {other.prompt!r} (seed {other.seed})")
    return pairs


def comparisons(pairs: Sequence[Pair], rounds: int, seed: int) -> list[Comparison]:
    """The measures of whole pairs. Truth is by the layout that was drawn; what is satisfied and met, the critic says.

    Args:
        pairs: Without lessons, and with them.
        rounds: Most rounds of a run.
        seed: Of the resampling.
    """
    whole = [it for it in pairs if it.is_whole]

    def of(name: str, value: Callable[[Outcome], float]) -> Comparison:
        return compare(
            name, [value(it.without.outcome) for it in whole], [value(it.having.outcome) for it in whole], seed
        )

    def satisfied_by(most: int) -> Callable[[Outcome], float]:
        return lambda it: float(it.satisfied and it.rounds <= most)

    return [
        of("true at the end", lambda it: float(bool(it.true))),
        of("true in the first picture", lambda it: float(bool(it.first_true))),
        of("met in the first round (critic)", lambda it: it.first_score),
        *(of(f"satisfied after {most} (critic)", satisfied_by(most))
          for most in range(1, rounds + 1)),
        of("rounds", lambda it: it.rounds),
        of("images", lambda it: it.images),
        of("calls of chat models", lambda it: it.calls),
        of("calls without those that distil", lambda it: it.calls - it.by_task.get(_DISTIL, 0)),
        of("tokens, in hundreds (estimated)", lambda it: it.tokens / 100),
        compare(
            "seconds of computing", [it.without.computing for it in whole], [it.having.computing for it in whole], seed
        ),
    ]  # fmt: skip


def verdict(found: Sequence[Comparison]) -> str:
    """Whether it pays, in a sentence."""
    told = []
    for it in found:
        if it.name in _GAINS:
            gain = _GAINS[it.name] * it.difference.value
            said = ("better" if gain > 0 else "worse") if it.is_shown else "no difference shown"
            told.append(f"{it.name} {said} ({it.told()})")
    return "; ".join(told)


class Link(NamedTuple):
    """One link of the chain from a failure to a picture that a lesson changed."""

    name: str
    hits: int
    total: int


def learning_chain(measured: Measured) -> list[Link]:
    """How failures of the first prompts became lessons."""
    runs = [it for it in measured.learning if not it.outcome.error]
    return [
        Link("a requirement was unmet at some time", sum(it.outcome.failed > 0 for it in runs), len(runs)),
        Link("a later prompt met it", sum(it.outcome.mended > 0 for it in runs), len(runs)),
        Link("the end was distilled to a lesson", sum(it.learned > 0 for it in runs), len(runs)),
        Link(
            "lessons distilled that stand as entries of their own",
            len(measured.lessons),
            sum(it.learned for it in runs),
        ),
        Link("prompts that already had lessons of those before", sum(bool(it.outcome.given) for it in runs), len(runs)),
    ]


def giving_chain(pairs: Sequence[Pair]) -> list[Link]:
    """How lessons changed the runs of the held-out prompts."""
    whole = [it for it in pairs if it.is_whole]

    def count(name: str, test: Callable[[Pair], bool]) -> Link:
        return Link(name, sum(test(it) for it in whole), len(whole))

    return [
        count("the planner was given a lesson", lambda it: any(one["round"] == 1 for one in it.having.outcome.given)),
        count("its first prompt is another", lambda it: it.without.outcome.drawn[:1] != it.having.outcome.drawn[:1]),
        count("a refiner was at work", lambda it: it.having.outcome.rounds > 1),
        count("it was given a lesson", lambda it: any(one["round"] > 1 for one in it.having.outcome.given)),
        count("any prompt is another", lambda it: it.without.outcome.drawn != it.having.outcome.drawn),
        count("the end is true in one run only", lambda it: it.without.outcome.true != it.having.outcome.true),
    ]


class Use(NamedTuple):
    """A lesson among the held-out prompts."""

    text: str
    support: int
    """Trajectories it was learned from."""
    planner: int
    """Runs whose planner was given it."""
    refiner: int
    """Runs whose refiner was given it."""
    judged: int
    helped: int
    """Of `judged` runs, as the loop itself counts: all of its kind was met, be it by the lesson or not."""
    without: int
    """Prompts whose planner was given it that are true in the first picture without lessons."""
    having: int
    """The same with lessons."""


def uses(measured: Measured) -> list[Use]:
    """The lessons, those that were given most often first. One that has faded can be given to nobody, and says so."""
    out = faded(measured.lessons)
    found = [_use(measured, it, "faded, " if it.id in out else "") for it in measured.lessons]
    return sorted(found, key=lambda it: -(it.planner + it.refiner))


def _use(measured: Measured, lesson: Lesson, mark: str) -> Use:
    first, later = (
        [it for it in paired(measured.without, measured.having) if _is_given(it.having, lesson.id, first=is_first)]
        for is_first in (True, False)
    )
    judged = [it.credited[lesson.id] for it in measured.having if lesson.id in it.credited]
    return Use(
        f"{mark}{lesson.kind}: {lesson.when}: {lesson.advice}",
        lesson.support,
        planner=len(first),
        refiner=len(later),
        judged=len(judged),
        helped=sum(judged),
        without=sum(bool(it.without.outcome.first_true) for it in first),
        having=sum(bool(it.having.outcome.first_true) for it in first),
    )


def _is_given(it: Tried, lesson: str, *, first: bool) -> bool:
    return any(one["id"] == lesson and (one["round"] == 1) == first for one in it.outcome.given)


def print_measured(console: Console, measured: Measured, rounds: int, seed: int) -> None:
    """All of one benchmark."""
    console.print(f"\n{measured.benchmark}", style="bold")
    _print_chain(console, f"learning, {len(measured.learning)} prompts", learning_chain(measured))
    pairs = paired(measured.without, measured.having)
    _print_comparisons(console, f"{measured.benchmark}: held-out prompts, lessons frozen", pairs, rounds, seed)
    _print_chain(console, "held-out prompts, lessons frozen", giving_chain(pairs))
    _print_likeness(console, measured)
    _print_uses(console, uses(measured))
    if measured.keeping:
        keeping = paired(measured.without, measured.keeping)
        _print_comparisons(console, f"{measured.benchmark}: held-out prompts, learning on", keeping, rounds, seed)
        _print_chain(console, "held-out prompts, learning on", giving_chain(keeping))


def print_end(console: Console, seconds: float, runs: int) -> None:
    """What all of it took, and what it is worth."""
    console.print(f"\n{runs} runs in {seconds:.0f} s.\n{WIRING}", soft_wrap=True)


def _print_comparisons(console: Console, title: str, pairs: Sequence[Pair], rounds: int, seed: int) -> None:
    found = comparisons(pairs, rounds, seed)
    rows = [[it.name, str(it.without), str(it.having), it.told(), str(it.higher), str(it.lower)] for it in found]
    whole = sum(it.is_whole for it in pairs)
    print_table(
        console,
        f"{title}: {whole} pairs, means with 95% intervals (bootstrap over prompts)",
        ["", "without", "with lessons", "difference of pairs", "higher", "lower"],
        rows,
    )
    if whole:
        bound = share(0, whole).high
        console.print(f"where no pair differs, at most {bound:.1%} of prompts do (95%)", soft_wrap=True)
        alone = next(it for it in found if it.name == "rounds").without.value
        console.print(f"room: without lessons a run takes {alone - 1:.3f} rounds beyond the first", soft_wrap=True)
    if broken := [it for it in pairs if not it.is_whole]:
        console.print(f"left out, since a run could not be made: {len(broken)}", soft_wrap=True)
        for it in broken:
            error = it.without.outcome.error or it.having.outcome.error
            console.print(one_line(f"  {it.without.outcome.prompt}: {error}", 2 * _LONGEST))
    console.print(f"does it pay: {verdict(found)}\n", soft_wrap=True)


def _print_chain(console: Console, title: str, links: Sequence[Link]) -> None:
    rows = [[it.name, f"{it.hits} of {it.total}", str(share(min(it.hits, it.total), it.total))] for it in links]
    print_table(console, title, ["", "", "share, 95% interval"], rows)


def _print_likeness(console: Console, measured: Measured) -> None:
    """How like the best lesson is to each held-out prompt, as the planner looks for it."""
    if not measured.lessons:
        console.print("no lesson was learned: there is nothing to find\n")
        return
    compared = Likeness(embedding())
    best = [max(compared.to_text(measured.lessons, it.outcome.prompt)) for it in measured.without]
    over = share(sum(it >= FLOOR for it in best), len(best))
    spread = "one prompt"
    if len(best) > 1:
        spread = "quartiles " + ", ".join(f"{it:.2f}" for it in statistics.quantiles(best, n=_QUARTILES))
    console.print(
        f"likeness of the best lesson to each held-out prompt: least {min(best):.2f}, {spread}, most {max(best):.2f}; "
        f"at or over the floor of {FLOOR}: {over}\n",
        soft_wrap=True,
    )


def _print_uses(console: Console, found: Sequence[Use]) -> None:
    rows = [
        [
            one_line(it.text, _LONGEST),
            *(str(part) for part in (it.support, it.planner, it.refiner)),
            f"{it.helped} of {it.judged}" if it.judged else "-",
            str(it.without),
            str(it.having),
        ]
        for it in found
    ]
    print_table(
        console,
        "lessons: runs learned from; held-out runs whose planner, whose refiner was given it; how often its kind was met "
        "then; of the planner's,\ntrue in the first picture without lessons and with them",
        ["", "from", "planner", "refiner", "met", "without", "with"],
        rows,
    )
