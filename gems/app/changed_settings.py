"""What has changed since a run began, told before it goes on."""

from __future__ import annotations

import asyncio

from gems.app.review_terminal import Person
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.state import GemsState
from gems.nodes.fingerprint import changes, made_with


async def agree_on_changes(services: Services, state: GemsState, person: Person | None) -> bool:
    """Whether something changed, and the person goes on all the same.

    Raises:
        GemsConfigError: something changed, and the person does not want to go on, or cannot be asked.
    """
    told = await asyncio.to_thread(_changes, services, state)
    if not told:
        return False
    since = f"since this run began, {'; '.join(told)}"
    if person is None:
        raise GemsConfigError(f"{since}: set it back, or go on all the same with --accept-changes")
    if not person.agrees(f"{since[0].upper()}{since[1:]}."):
        raise GemsConfigError("the run is left as it was: set it back, or go on with --accept-changes")
    return True


def _changes(services: Services, state: GemsState) -> list[str]:
    options = state["options"]
    now = made_with(services, services.models(options["profile"]))
    # What an earlier version of GEMS began says only who answered and who drew.
    return changes(state.get("made_with", {**now, **options["models"]}), now)
