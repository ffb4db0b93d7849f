"""`python -m gems.evals.recall`: how well lessons are found again, against full-text search, and what the thresholds do.

The situations are written by hand (`recall_cases`) or come from the grammar of GenEval 2. What was fitted to them:
the floor of likeness, chosen on one half of the situations and reported on the other; the thresholds of merging, for
which there is only one set. The words of `situations_in`, and their weight, were chosen with all situations in sight,
so that what they add here is no proof; plain vectors, which were not fitted at all, stand beside them. Requests of
real users and lessons of real models may differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

import click
import numpy as np
from rich.console import Console

from gems.app.terminal import make_console
from gems.core.errors import GemsError
from gems.core.intervals import Share, share
from gems.core.ports import Lesson, LessonQuery
from gems.evals import geneval2
from gems.evals.figures import print_table
from gems.evals.recall_cases import CASES, OPPOSED, REWORDED, UNRELATED, Case
from gems.evals.recall_finders import FINDERS, Scores, full_text, likeness
from gems.memory.embedding import StaticEmbedding
from gems.memory.lesson_choice import choose
from gems.memory.likeness import FLOOR, Likeness, opposed

SHOWN: Final = 3
"""Lessons that a role is given."""
FLOORS: Final = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40)
_RESAMPLES: Final = 1000
_BACKEND: Final = "sketch"


class Quest(NamedTuple):
    """Lessons, and queries that each one of them is the answer to."""

    lessons: Sequence[Lesson]
    kinds: Sequence[str]
    queries: Sequence[str]
    answers: Sequence[int]


class Found(NamedTuple):
    """How often the right lesson came first, came among the first three, and the mean of one over its rank."""

    first: Share
    among: Share
    mrr: float
    low: float
    """Of the 95% interval of `mrr`, by resampling queries."""
    high: float


class Given(NamedTuple):
    """What a floor lets through, of at most three lessons a query."""

    floor: float
    right: Share
    """Queries that are given their lesson."""
    fitting: Share
    """Lessons given that are the right one."""
    needless: Share
    """Queries that are given some lesson when the right one is not in the store."""

    @property
    def balance(self) -> float:
        """F of `fitting` and `right` with beta 0.5: that a lesson fits counts twice as much as that it is found."""
        precision, recall = (it.value if it.hits else 0.0 for it in (self.fitting, self.right))
        return 1.25 * precision * recall / (0.25 * precision + recall) if precision else 0.0


def by_hand(cases: Sequence[Case] = CASES) -> Quest:
    """The situations written by hand."""
    return Quest(
        [lesson_of(case) for case in cases],
        [case.kind for case in cases],
        [query for case in cases for query in case.queries],
        [place for place, case in enumerate(cases) for _ in case.queries],
    )


_SITUATIONS: Final = {
    "count": "{name}: as many as were asked for",
    "attribute": "{name} that should be {attribute}",
    "position": "{name} placed {relation} {other}",
    "verb": "{name} {relation} {other}",
}


def by_name(number: int, seed: int) -> Quest:
    """Lessons that name things, as a hasty model writes them, and GenEval 2's questions about those things."""
    situations: dict[str, tuple[str, str]] = {}
    for prompt in geneval2.generate(number, seed):
        for (question, _), check in zip(prompt.vqa_list, prompt.checks, strict=True):
            if check.skill in _SITUATIONS:
                words = {"attribute": check.attribute, "relation": check.relation, "other": check.other}
                situation = _SITUATIONS[check.skill].format(name=check.name, **words)
                situations.setdefault(situation, (check.skill, question))
    kept = list(situations.items())[:number]
    return Quest(
        [_lesson("other", situation, "") for situation, _ in kept],
        [kind for _, (kind, _) in kept],
        [question for _, (_, question) in kept],
        range(len(kept)),
    )


def ranks(scores: Scores, quest: Quest, *, within_kind: bool) -> list[int]:
    """The rank of each query's answer, 1 the best; of equal scores it has the last place."""
    kinds = np.array(quest.kinds)
    found = []
    for row, answer in zip(scores, quest.answers, strict=True):
        rivals = row[kinds == kinds[answer]] if within_kind else row
        found.append(int((rivals >= row[answer]).sum()))
    return found


def found(places: Sequence[int], seed: int = 0) -> Found:
    """Shares of ranks."""
    rng = Random(seed)
    gains = [1 / place for place in places]
    means = sorted(sum(rng.choices(gains, k=len(gains))) / len(gains) for _ in range(_RESAMPLES))
    return Found(
        share(sum(place == 1 for place in places), len(places)),
        share(sum(place <= SHOWN for place in places), len(places)),
        sum(gains) / len(gains),
        means[int(0.025 * _RESAMPLES)],
        means[int(0.975 * _RESAMPLES)],
    )


def given(scores: Scores, quest: Quest, floor: float, half: int | None = None) -> Given:
    """What the floor lets through among lessons of the query's kind.

    Args:
        scores: Of `likeness`.
        quest: What is looked for.
        floor: The least score.
        half: Queries of the even (0) or odd (1) situations only.
    """
    kinds = np.array(quest.kinds)
    right = total = needless = asked = 0
    for row, answer in zip(scores, quest.answers, strict=True):
        if half is not None and answer % 2 != half:
            continue
        asked += 1
        best = sorted((float(it) for it in row[kinds == kinds[answer]] if it >= floor), reverse=True)[:SHOWN]
        total += len(best)
        right += float(row[answer]) in best
        others = (kinds == kinds[answer]) & (np.arange(len(row)) != answer)
        needless += bool((row[others] >= floor).any())
    return Given(floor, share(right, asked), share(right, total), share(needless, asked))


class Merging(NamedTuple):
    """What the thresholds of merging recognize."""

    reworded: Share
    """Lessons in other words that count as the same."""
    different: Share
    """Pairs of different lessons of one kind that count as the same."""
    opposites: Share
    """Pieces of advice against each other that count as opposed."""
    agreeing: Share
    """The same advice in other words that counts as opposed."""


def merging() -> Merging:
    """Recognize lessons and advice in other words."""
    compared = Likeness(StaticEmbedding())
    lessons = {case.when: lesson_of(case) for case in CASES}
    again = [(lessons[it.when], _lesson(lessons[it.when].kind, it.again, it.advice)) for it in REWORDED]
    every = list(lessons.values())
    pairs = [(one, other) for place, one in enumerate(every) for other in every[:place] if one.kind == other.kind]
    return Merging(
        share(sum(compared.about_the_same(one, other) for one, other in again), len(again)),
        share(sum(compared.about_the_same(one, other) for one, other in pairs), len(pairs)),
        share(sum(opposed(one, other) for one, other in OPPOSED), len(OPPOSED)),
        share(sum(opposed(one.advice, other.advice) for one, other in again), len(again)),
    )


class Speed(NamedTuple):
    """Seconds of computing."""

    loading: float
    first: float
    """The first choice among the lessons: all of them are embedded."""
    next: float
    """Every later one, for a new text."""
    searching: float
    """Full-text search for the same, its index made for each fifty texts."""


def speed(lessons: int = 1000, queries: int = 50) -> Speed:
    """Time choices among so many lessons."""
    embedding = StaticEmbedding()
    many = [
        _lesson(CASES[n % len(CASES)].kind, f"{CASES[n % len(CASES)].when}, case {n}", f"do {n}")
        for n in range(lessons)
    ]
    texts = [f"{query}, once more" for query in by_hand().queries[:queries]]
    loading = _timed(lambda: embedding.vectors(["a word"]))
    compared = Likeness(embedding)

    def choose_for(text: str) -> list[Lesson]:
        return choose(many, LessonQuery(text, _BACKEND), SHOWN, compared)

    first = _timed(lambda: choose_for("something else"))
    later = _timed(lambda: [choose_for(text) for text in texts])
    searched = _timed(lambda: full_text(many, texts))
    return Speed(loading, first, later / len(texts), searched / len(texts))


def lesson_of(case: Case) -> Lesson:
    """The lesson of a situation."""
    return _lesson(case.kind, case.when, case.advice)


def _lesson(kind: str, when: str, advice: str) -> Lesson:
    return Lesson(id=when, kind=kind, backend=_BACKEND, skills=(), when=when, advice=advice)  # type: ignore[arg-type]


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of GenEval 2's questions.")
def main(seed: int) -> None:
    """Look for lessons in several ways, and print how often the right one is found."""
    console = make_console(stderr=False)
    try:
        _print_found(console, "written by hand", by_hand())
        _print_found(console, "named things, GenEval 2's questions", by_name(150, seed))
        _print_floors(console, by_hand())
        _print_merging(console, merging())
        _print_speed(console, speed())
    except GemsError as error:
        raise click.ClickException(str(error)) from error


def _print_found(console: Console, title: str, quest: Quest) -> None:
    rows = []
    for name, finder in FINDERS.items():
        scores = finder(quest.lessons, quest.queries)
        for label, within_kind in (("", False), (", kind known", True)):
            it = found(ranks(scores, quest, within_kind=within_kind))
            mean = f"{it.mrr:.3f} [{it.low:.3f}, {it.high:.3f}]"
            rows.append([f"{name}{label}", str(it.first), str(it.among), mean])
    print_table(
        console,
        f"{len(quest.queries)} queries for {len(quest.lessons)} lessons, {title} (95% intervals)",
        ["", "right one first", f"among {SHOWN}", "mean 1/rank"],
        rows,
    )


def _print_floors(console: Console, quest: Quest) -> None:
    scores = likeness(quest.lessons, quest.queries)
    plain = likeness(quest.lessons, UNRELATED).max(axis=1)
    rows = []
    for floor in FLOORS:
        tuned, held_out = (given(scores, quest, floor, half) for half in (0, 1))
        idle = share(int((plain >= floor).sum()), len(plain))
        shares = (held_out.right, held_out.fitting, held_out.needless, idle)
        mark = " (in use)" if floor == FLOOR else ""
        rows.append([f"{floor:.2f}{mark}", f"{tuned.balance:.3f}", *(str(it) for it in shares)])
    print_table(
        console,
        "Floors of likeness, kind known: F0.5 on the even situations, by which it is chosen; shares on the odd ones",
        ["floor", "F0.5", "queries given theirs", "given that fit", "given without theirs", "plain requests given any"],
        rows,
    )


def _print_merging(console: Console, it: Merging) -> None:
    shares = {
        "reworded lessons seen as the same": it.reworded,
        "different lessons seen as the same": it.different,
        "opposite advice seen as opposed": it.opposites,
        "reworded advice seen as opposed": it.agreeing,
    }
    print_table(console, "Merging (95% intervals)", ["", "share"], [[name, str(part)] for name, part in shares.items()])


def _print_speed(console: Console, lap: Speed) -> None:
    print_table(
        console,
        "Milliseconds of computing, 1000 lessons",
        ["loading", "first choice", "next ones", "full text"],
        [[f"{1000 * seconds:.1f}" for seconds in lap]],
    )


if __name__ == "__main__":
    main()
