"""`gems follow-up`: a message that changes the picture of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gems.app.commands import perform, read_prompt
from gems.app.outcome import Outcome
from gems.app.session import Target, open_session
from gems.app.threads import check_thread_id
from gems.core.ports import Services


def follow_up(
    message: str,
    options: Mapping[str, Any],
    target: Target,
    services: Services | None = None,
    references: Sequence[Path] = (),
) -> int:
    """`gems follow-up`, with these services or the machine's.

    Args:
        message: What is to change; `-` reads it from standard input.
        options: Fields of `GemsContext`; those that are None were not given.
        target: The thread, and how to answer.
        services: What the nodes use.
        references: Files of more reference images.
    """

    async def work(console: Console) -> Outcome:
        check_thread_id(target.thread_id)
        text = read_prompt(message)
        async with open_session(target, options, console, services) as session:
            return await session.follow_up(text, references)

    return perform(target, work)
