"""What happened to one trajectory: its lives, what each asked and left behind, and the same request undisturbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gems.core.state import GemsState
from gems.evals.crash.lives import Life
from gems.evals.crash.moments import Kill
from gems.evals.crash.place import Ending, Glimpse, Stored
from gems.evals.crash.servers import Asked


@dataclass(frozen=True, slots=True)
class Chapter:
    """One life: the artifacts before and after it, and the thread as it left it."""

    name: str
    life: Life
    fresh: bool
    before: Stored
    after: Stored
    glimpse: Glimpse
    spoke: bool
    """Whether it has written a word: the command line does when a run begins or goes on."""
    asked: tuple[Asked, ...] = ()
    """What it asked the servers. Known only once they have read it, which may be after its death."""
    kill: Kill | None = None
    """What its kill hit; None where it ended by itself."""


@dataclass(slots=True)
class History:
    """One trajectory. `calm` is what the servers were asked by the same request, undisturbed, with its ending."""

    thread: str
    calm: tuple[Asked, ...]
    calm_ending: Ending
    chapters: list[Chapter] = field(default_factory=list)
    ending: Ending | None = None

    @property
    def kills(self) -> list[Kill]:
        """The kills, in order."""
        return [it.kill for it in self.chapters if it.kill is not None]

    @property
    def asked(self) -> list[Asked]:
        """All that was asked, in order of its arrival."""
        return sorted((it for chapter in self.chapters for it in chapter.asked), key=lambda it: it.entry.number)

    def again(self, *, drawings: bool) -> int:
        """Requests for what was asked before, beyond those that the undisturbed run repeats, too."""
        surplus = tally(self.asked, drawings=drawings) - tally(self.calm, drawings=drawings)
        return surplus.total()

    def repeats(self) -> Iterator[Repeat]:
        """Chat calls that an earlier life had asked already, one by one."""
        allowed = tally(self.calm, drawings=False)
        last: dict[str, tuple[Chapter, Asked]] = {}
        for place, chapter in enumerate(self.chapters):
            for it in (it for it in chapter.asked if not it.is_drawing):
                allowed[it.digest] -= 1
                if allowed[it.digest] < 0 and it.digest in last and place:
                    yield Repeat(chapter, it, self.chapters[place - 1], *last[it.digest])
                last[it.digest] = chapter, it


class Repeat(NamedTuple):
    """A chat call of `chapter` that was asked before: last in `earlier`, as `first`. `killed` is the life before this."""

    chapter: Chapter
    asked: Asked
    killed: Chapter
    earlier: Chapter
    first: Asked

    @property
    def lag(self) -> float | None:
        """Seconds for which its life had the earlier answer before it died; None where it had none."""
        return self.first.answered_before(self.earlier.life.died)


def tally(asked: tuple[Asked, ...] | list[Asked], *, drawings: bool) -> Counter[str]:
    """How often each thing was asked for."""
    return Counter(it.digest for it in asked if it.is_drawing is drawings)


VOLATILE: Final = frozenset({"trajectory_id", "spans", "usage", "messages"})
"""What differs between two runs of one request: names, times, and what was spent."""


def essence(state: GemsState) -> dict[str, Any]:
    """A state without what may differ between two runs of one request."""
    kept: dict[str, Any] = {name: value for name, value in state.items() if name not in VOLATILE}
    kept["attempts"] = [
        {name: value for name, value in attempt.items() if name != "reused"} for attempt in kept.get("attempts", [])
    ]
    kept["lessons"] = [{**lesson, "id": ""} for lesson in kept.get("lessons", [])]
    kept["result"] = {name: value for name, value in kept.get("result", {}).items() if name != "seconds"}
    return kept
