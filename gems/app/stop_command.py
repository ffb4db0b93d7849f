"""`gems stop`: asks the process that runs a thread to stop after its current step."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Final, Literal

import click

from gems.app.commands import load_run
from gems.app.terminal import make_console
from gems.app.threads import check_thread_id
from gems.core.errors import GemsConfigError
from gems.core.settings import load_settings
from gems.memory.stores import Stores, stores_of

_LOOK_SECONDS: Final = 0.2

Ending = Literal["asked", "stopped", "ended"]
"""What is known of the run: it was asked; it stopped; or it came to its end before it had to."""


def stop(thread_id: str, *, wait: bool, as_json: bool) -> int:
    """`gems stop`.

    Raises:
        GemsConfigError: nobody runs the thread.
    """
    check_thread_id(thread_id)
    stores = stores_of(load_settings())
    if not stores.locks.is_held(thread_id):
        raise GemsConfigError(f"nobody runs thread {thread_id!r} at the moment; `gems runs` lists what there is")
    stores.stops.ask(thread_id)
    console = make_console(stderr=as_json)
    console.print(f"Asked {thread_id} to stop after its current step.", soft_wrap=True)
    ending: Ending = "asked"
    if wait:
        _wait(stores, thread_id)
        ending = asyncio.run(_ending(thread_id))
        told = (
            f"Stopped. Go on with: gems resume {thread_id}" if ending == "stopped" else "It ended by itself meanwhile."
        )
        console.print(told, soft_wrap=True)
    if as_json:
        click.echo(json.dumps({"thread_id": thread_id, "status": ending}, ensure_ascii=False, indent=2))
    return 0


def _wait(stores: Stores, thread_id: str) -> None:
    # Whoever takes the thread next forgets the request: then the run that was meant is over, too.
    while stores.locks.is_held(thread_id) and stores.stops.asked(thread_id):
        time.sleep(_LOOK_SECONDS)


async def _ending(thread_id: str) -> Ending:
    try:
        run = await load_run(thread_id)
    except GemsConfigError:
        return "stopped"  # before its first step was done
    return "stopped" if run.state["status"] == "running" else "ended"
