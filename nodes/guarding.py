"""What a user of a server may have written into their thread's state: LangGraph lets clients change it between steps."""

from __future__ import annotations

from typing import Any

from gems.core.context import GemsContext, Size
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.state import GemsState, Options
from gems.memory.owned import current_user


async def check_state(services: Services, state: GemsState) -> None:
    """Refuse a state that asks for more than a request could, or is of another user's trajectory.

    Whoever runs the graph without a server owns the machine, and may do what they like.

    Raises:
        GemsConfigError: so it is.
    """
    user = current_user()
    if user is None:
        return
    _check_options(state["options"])
    owners = await services.runs.owners_of(state["trajectory_id"])
    if owners and user not in {owner or services.owner for owner in owners}:
        # Its ledger, journal and purse are another's.
        raise GemsConfigError(f"there is no trajectory {state['trajectory_id'][:64]!r}: begin another one")


def _check_options(options: Options) -> None:
    values: Any = options
    GemsContext(**{name: values[name] for name in GemsContext.model_fields if name in values})
    Size.parse(f"{options['width']}x{options['height']}")
