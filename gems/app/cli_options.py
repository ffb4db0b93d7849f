"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def options_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, listed in this order."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


debug_option = click.option("--debug", is_flag=True, envvar="GEMS_DEBUG", help="Show the traceback of an error.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output, all else on stderr."
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of results.  [default: gems-out/THREAD]"
)
limit_options = options_of(
    click.option("--max-rounds", type=int, metavar="N", help="Most rounds of drawing."),
    click.option("--max-images", type=int, metavar="N", help="Never ask for more drawings than this."),
    click.option("--max-calls", type=int, metavar="N", help="Never make more model calls than this."),
    click.option("--max-tokens", type=int, metavar="N", help="Never read and write more tokens than this."),
    click.option("--max-seconds", type=float, metavar="S", help="Stop after this many seconds, within a call too."),
    click.option("--max-cost", type=float, metavar="USD", help="Make no call that could pass this; needs prices."),
    click.option("--candidates", type=int, metavar="N", help="Images drawn in each round."),
)
review_option = click.option(
    "--review",
    type=click.Choice(["none", "plan", "round"]),
    help="Ask you nowhere, at the plan, or at the plan and after each round.  [default: the profile's, none]",
)
memory_options = options_of(
    click.option(
        "--memory",
        type=click.Choice(["none", "prompts", "images", "thoughts", "experience"]),
        help="What the model that chooses changes reads of earlier rounds.  [default: the profile's, experience]",
    ),
    click.option(
        "--no-lessons",
        "lessons",
        is_flag=True,
        flag_value=False,
        default=None,
        help="Neither use lessons of earlier runs nor keep new ones.",
    ),
)
accept_changes_option = click.option(
    "--accept-changes",
    is_flag=True,
    flag_value=True,
    default=None,
    help="Go on although models, their settings or the role prompts have changed.",
)
