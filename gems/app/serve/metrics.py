"""The numbers of the server in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from gems.app.serve.desk import Desk

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Metric(NamedTuple):
    name: str
    kind: str
    meaning: str
    samples: Iterable[tuple[str, float]]
    """Labels, as they are written, and value."""


def render(desk: Desk) -> str:
    """All numbers."""
    return "\n".join(line for metric in _metrics(desk) for line in _lines(metric)) + "\n"


def _metrics(desk: Desk) -> Iterator[_Metric]:
    tally, figures = desk.tally, desk.studio.figures()
    yield _Metric(
        "gems_ready", "gauge", "Whether the models are loaded and drawings taken in.", _one(int(desk.is_ready))
    )
    yield _Metric("gems_waiting", "gauge", "Drawings that no device has taken up.", _one(figures.waiting))
    yield _Metric("gems_drawing", "gauge", "Drawings under way.", _one(figures.drawing))
    yield _Metric("gems_drawings_total", "counter", "Drawings that were made.", _one(tally.drawn))
    yield _Metric("gems_failures_total", "counter", "Drawings that failed.", _one(tally.failed))
    yield _Metric(
        "gems_cancelled_total", "counter", "Drawings that nobody waited for to the end.", _one(tally.cancelled)
    )
    yield _Metric(
        "gems_refused_total",
        "counter",
        "Requests that were answered without a picture.",
        [(f'{{status="{status}"}}', count) for status, count in sorted(tally.refused.items())],
    )
    yield _Metric(
        "gems_batches_total", "counter", "Goes, in each of which one or more are drawn.", _one(figures.batches)
    )
    yield _Metric(
        "gems_busy_seconds_total", "counter", "Seconds of work, over all devices.", _one(figures.busy_seconds)
    )
    yield _Metric(
        "gems_drawing_seconds_total", "counter", "Seconds that the drawings that were made took.", _one(tally.seconds)
    )


def _one(value: float) -> list[tuple[str, float]]:
    return [("", value)]


def _lines(metric: _Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.meaning}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in metric.samples:
        yield f"{metric.name}{labels} {value}"
