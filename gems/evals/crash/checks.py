"""What must hold, life by life and in the end. Each check is a function from a history to findings; none is good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gems.evals.crash.history import Chapter, History, essence, tally
from gems.evals.crash.moments import NODE_OF
from gems.evals.crash.place import Ending

RECEIVING: Final = 1.0
"""Seconds in which an answer that is sent must be received and stored, on a busy machine too: it has been sent whole, but
whether it was read before the kill, nobody can see from outside. Stored takes some 20 ms on an idle one."""


COUNTED: Final = ("mllm_calls", "input_tokens", "output_tokens", "images_sent")
"""Usage that is the same however often a run was killed: what was received is counted once, what was lost is not."""


class Finding(NamedTuple):
    """Something that must not be."""

    thread: str
    life: str
    text: str


def check(history: History) -> list[Finding]:
    """All findings of a trajectory that has ended."""
    return [*_of_lives(history), *_of_chats(history), *_of_ending(history)]


def check_lessons(wild: Sequence[str], calm: Sequence[str]) -> list[Finding]:
    """Findings among the lessons that all trajectories have left, which are the same as undisturbed, and as often used."""
    if wild == calm:
        return []
    return [Finding("", "", f"the lessons are otherwise than undisturbed: {list(wild)}, not {list(calm)}")]


def _of_lives(history: History) -> Iterator[Finding]:
    for chapter in history.chapters:
        for text in _of_life(chapter):
            yield Finding(history.thread, chapter.name, text)


def _of_life(chapter: Chapter) -> Iterator[str]:
    yield from chapter.after.faults
    if chapter.glimpse.fault:
        yield chapter.glimpse.fault
    for artifact in sorted(chapter.before.artifacts - chapter.after.artifacts):
        yield f"the image {artifact[:12]} was stored and is gone"
    if not chapter.life.killed and chapter.life.code != 0:
        yield f"it ended with exit code {chapter.life.code}, and not by our hand"
    drawn = tally(chapter.asked, drawings=True)
    for wish, times in drawn.items():
        if wish in chapter.before.wishes:
            yield f"the picture {wish[:12]} was stored, and drawn again"
        if times > 1:
            yield f"the picture {wish[:12]} was drawn {times} times in one life"
    for it in chapter.asked:
        lag = it.answered_before(chapter.life.died) if it.is_drawing else None
        if lag is not None and lag > RECEIVING and it.digest not in chapter.after.wishes:
            yield f"the picture {it.digest[:12]} was sent {lag:.1f} s before the end, and not stored"


def _of_chats(history: History) -> Iterator[Finding]:
    for repeat in history.repeats():
        task = repeat.asked.entry.task
        if NODE_OF.get(task, task) not in repeat.killed.glimpse.pending:
            text = (
                f"{task!r} was asked again, though its node was not among those killed: {repeat.killed.glimpse.pending}"
            )
            yield Finding(history.thread, repeat.chapter.name, text)
        elif repeat.lag is not None and repeat.lag > RECEIVING:
            text = f"{task!r} was asked again, though it was answered {repeat.lag:.1f} s before the kill"
            yield Finding(history.thread, repeat.chapter.name, text)


def _of_ending(history: History) -> Iterator[Finding]:
    for text in _differences(history):
        yield Finding(history.thread, history.chapters[-1].name, text)


def _differences(history: History) -> Iterator[str]:
    ending, calm = history.ending, history.calm_ending
    if ending is None:
        yield "it never came to an end"
        return
    killed, undisturbed = essence(ending.state), essence(calm.state)
    for name in sorted(killed.keys() | undisturbed.keys()):
        if killed.get(name) != undisturbed.get(name):
            yield f"{name!r} ends otherwise than undisturbed: {killed.get(name)!r}, not {undisturbed.get(name)!r}"
    for drawings, what in ((True, "a picture"), (False, "a chat call")):
        here, there = tally(history.asked, drawings=drawings), tally(history.calm, drawings=drawings)
        for digest in here.keys() ^ there.keys():
            yield f"{what} ({digest[:12]}) was asked for {'only' if digest in here else 'never'} by the killed run"
    in_flight = sum(kill.drawings + kill.unstored for kill in history.kills)
    if history.again(drawings=True) > in_flight:
        yield f"{history.again(drawings=True)} pictures were drawn again, and only {in_flight} were in flight at kills"
    for attempt in ending.state.get("attempts", []):
        if attempt.get("artifact") not in history.chapters[-1].after.artifacts:
            yield f"the image of attempt {attempt['id']} is not stored"
    spent, before = _spent(ending), _spent(calm)
    if spent != before:
        yield f"usage is {spent}, and {before} undisturbed"
    yield from _of_books(history)
    if ending.listed != calm.listed:
        yield f"the index of runs says {ending.listed!r}, and {calm.listed!r} undisturbed"
    if ending.files != calm.files:
        yield f"exported were {sorted(ending.files)}, and {sorted(calm.files)} undisturbed"


def _of_books(history: History) -> Iterator[str]:
    """Limits hold across kills only if whatever a server was asked is booked."""
    if history.ending is None:
        return
    drawings = sum(it.is_drawing for it in history.asked)
    chats = len(history.asked) - drawings
    if history.ending.images < drawings:
        yield f"{drawings} pictures were asked for, and only {history.ending.images} booked against the limits"
    if history.ending.calls < chats:
        yield f"{chats} chat calls were made, and only {history.ending.calls} booked against the limits"


def _spent(ending: Ending) -> dict[str, int]:
    """What the state counts. A picture that was stored before a kill is found again instead of drawn."""
    usage: Mapping[str, Any] = ending.state.get("usage", {})
    counted = {name: usage.get(name, 0) for name in COUNTED}
    return counted | {"pictures": usage.get("images", 0) + usage.get("reused", 0)}
