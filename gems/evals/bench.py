"""`python -m gems.evals.bench` (`make bench`): what our own code costs, against its targets.

Each section is a function that measures and answers with figures; a further one is a line in `SECTIONS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import click

from gems.app.terminal import make_console
from gems.evals.bench_local import measure_local
from gems.evals.bench_loop import measure_checkpoints, measure_rounds, measure_view
from gems.evals.bench_startup import measure_startup
from gems.evals.bench_wire import measure_wire
from gems.evals.figures import Figure, print_figures


class Section(NamedTuple):
    """One part of the bench."""

    name: str
    title: str
    measure: Callable[[], list[Figure]]


SECTIONS: Final = (
    Section("rounds", "one round of the loop, models without latency, 1024 px", lambda: asyncio.run(measure_rounds())),
    Section("checkpoints", "checkpoints, 5 rounds, one candidate", lambda: asyncio.run(measure_checkpoints())),
    Section("view", "what the refiner reads", lambda: asyncio.run(measure_view())),
    Section("wire", "5 rounds on servers over HTTP: chat 0.3 s, image 0.6 s, one drawing at a time", measure_wire),
    Section("local", "weights in this process, beside a bare diffusers loop", measure_local),
    Section("startup", "start-up, in fresh processes", measure_startup),
)


@click.command()
@click.option(
    "--section",
    "names",
    multiple=True,
    type=click.Choice([section.name for section in SECTIONS]),
    help="Only this part; may be given several times.",
)
def main(names: tuple[str, ...]) -> None:
    """Measure what our own code costs. The exit code is 1 where a target is missed."""
    console = make_console(stderr=False)
    missed = 0
    for section in SECTIONS:
        if names and section.name not in names:
            continue
        figures = section.measure()
        print_figures(console, section.title, figures)
        missed += sum(figure.verdict == "MISSED" for figure in figures)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
