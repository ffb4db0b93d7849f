"""What the harness found, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from gems.evals.crash.checks import COUNTED
from gems.evals.crash.harness import Record
from gems.evals.crash.history import History, Repeat
from gems.evals.figures import Figure, print_figures, print_table

_SHOWN: Final = 20
"""Findings shown."""
_FLIGHT: Final = "were in flight at kills"


def print_record(console: Console, record: Record) -> None:
    """Kills by moment, the figures, what usage says, and the findings."""
    _print_moments(console, record)
    print_figures(console, "in all", _figures(record))
    _print_usage(console, record.histories)
    for finding in record.findings[:_SHOWN]:
        console.print(f"FOUND {finding.thread}, {finding.life}: {finding.text}", soft_wrap=True)
    if len(record.findings) > _SHOWN:
        console.print(f"... and {len(record.findings) - _SHOWN} more")


def _print_moments(console: Console, record: Record) -> None:
    kills = [kill for history in record.histories for kill in history.kills]
    rows = []
    for moment, number in Counter(kill.moment for kill in kills).most_common():
        those = [kill for kill in kills if kill.moment == moment]
        counts = (number, *(sum(column) for column in zip(*(kill[1:] for kill in those), strict=True)))
        rows.append([moment, *map(str, counts)])
    heads = ["at work", "kills", "calls in flight", "drawings in flight", "answered, not stored"]
    print_table(console, f"{len(kills)} kills, by what they hit", heads, rows)


def _figures(record: Record) -> list[Figure]:
    histories = record.histories
    asked = [it for history in histories for it in history.asked]
    chapters = [chapter for history in histories for chapter in history.chapters]
    kills = [kill for history in histories for kill in history.kills]
    repeats = [repeat for history in histories for repeat in history.repeats()]
    answered = [repeat for repeat in repeats if repeat.lag is not None]
    drawings = sum(it.is_drawing for it in asked)
    fresh = sum(chapter.fresh and chapter.life.killed for chapter in chapters)
    redrawn = sum(history.again(drawings=True) for history in histories)
    flight = sum(kill.drawings + kill.unstored for kill in kills)
    return [
        Figure("trajectories", len(histories), note=f"{fresh} kills hit new interpreters"),
        Figure("drawings begun", drawings),
        Figure("drawn again", redrawn, note=f"{flight} {_FLIGHT}, or not stored yet"),
        Figure("chat calls", len(asked) - drawings),
        Figure("asked again", len(repeats), note=f"{sum(kill.chats for kill in kills)} {_FLIGHT}"),
        Figure("of them, answered before the kill", len(answered), note=_lags(answered)),
        Figure("half-written files left among the artifacts", record.parts),
        *([] if record.unpruned is None else [Figure("of them, after `gems prune`", record.unpruned)]),
        Figure("half-written files left in folders of results", record.litter),
        Figure("time", record.seconds, "s", note=f"{len(chapters)} lives"),
    ]


def _lags(repeats: Sequence[Repeat]) -> str:
    lags = sorted(repeat.lag or 0.0 for repeat in repeats)
    return f"at most {1000 * lags[-1]:.0f} ms before it" if lags else ""


def _print_usage(console: Console, histories: Sequence[History]) -> None:
    rows = []
    for name in (*COUNTED, "images", "reused"):
        killed, calm = (
            sum(it.state.get("usage", {}).get(name, 0) for it in endings)  # type: ignore[misc]
            for endings in (
                [history.ending for history in histories if history.ending],
                [history.calm_ending for history in histories if history.ending],
            )
        )
        rows.append([name, f"{calm:,}", f"{killed:,}"])
    print_table(console, "usage by the states", ["", "undisturbed", "killed"], rows)
