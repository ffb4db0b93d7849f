"""A trajectory goes on: with raised limits, or with a follow-up that changes what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from gems.core.context import GemsContext
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.state import Attempt, GemsState, Options, Request, Usage, add_usage
from gems.nodes.asking import Update, same_models
from gems.nodes.checking import check_limits, check_references
from gems.nodes.critic import OVER_BUDGET
from gems.nodes.fingerprint import made_with
from gems.nodes.proposing import budget_spent


def go_on(services: Services, state: GemsState, context: GemsContext) -> Update:
    """A trajectory goes on, with what the context raises. A finished one needs room for another round.

    Raises:
        GemsConfigError: nothing is left to do within the limits, or what was given cannot change now.
    """
    options = _changed(state["options"], context)
    reason = state.get("stop_reason")
    # One that a person stopped shows its round once more, and ends there if nothing is left.
    if reason and reason not in ("satisfied", "accepted", "unverified", "stopped"):
        done = state["round"] - state["since"]
        if done >= options["max_rounds"]:
            raise GemsConfigError(f"{done} rounds are done: continue with max_rounds above that")
        if spent := budget_spent({**state, "options": options}):
            raise GemsConfigError(f"{spent} is reached: continue with a higher {spent}")
    update = _with_models(services, state, options)
    is_done = reason in ("satisfied", "accepted")
    return update | {"status": "done" if is_done else "running", "stop_reason": reason if is_done else None}


def follow_up(
    services: Services, state: GemsState, message: str, references: Sequence[str], context: GemsContext
) -> Update:
    """A message on a thread that has a picture: what is wanted changes, and the trajectory goes on.

    Memory, the best attempt and what was spent carry on, and so do the budgets; `max_rounds` counts from here.

    Raises:
        GemsConfigError: there is no picture yet, a budget is used up, or what was given cannot change now.
    """
    if not state["best"]:
        raise GemsConfigError(
            "there is no picture on this thread yet that a message could change: let its run finish first, or begin anew "
            "with restart"
        )
    options = _changed(state["options"], context)
    # Besides a round, the message itself takes two: it is worked in, and the best picture looked at again.
    calls = add_usage(state["usage"], Usage(mllm_calls=2))
    if spent := budget_spent({**state, "options": options, "usage": calls}):
        raise GemsConfigError(f"{spent} leaves no room for another round: give a higher {spent} with the message")
    update = _with_models(services, state, options)
    request = state["request"]
    images = services.models(options["profile"]).images
    shown = list(dict.fromkeys([*request.get("references", []), *references]))
    check_references(images, shown)
    # What it warns of is for the user's first words: "make it blue" is no prompt.
    images.check(f"{request['prompt']}. {message}", options["width"], options["height"])
    amended: Request = {**request, "said": [*request.get("said", [request["prompt"]]), message]}
    if shown:
        amended["references"] = shown
    return update | {
        "request": amended,
        # One that was not worked in yet, because its process died, is not forgotten.
        "follow_up": f"{state['follow_up']}\n{message}".strip(),
        "since": state["round"],
        "wish": "",
        "status": "running",
        "stop_reason": None,
    }


def _changed(options: Options, context: GemsContext) -> Options:
    """The options with what was given. What the trajectory was made with stays."""
    given: dict[str, Any] = context.model_dump(exclude_none=True, exclude={"accept_changes"})
    before: Mapping[str, Any] = {**options, "size": f"{options['width']}x{options['height']}"}
    for fixed in ("profile", "mode", "seed", "size", "skills"):
        if fixed in given and given.pop(fixed) != before[fixed]:
            raise GemsConfigError(
                f"{fixed} cannot change when a trajectory continues: begin anew with restart, or branch off with "
                "`gems fork`"
            )
    changed = cast("Options", {**options, **given})
    if changed["mode"] == "paper":
        changed["candidates"], changed["lessons"] = 1, False
    return changed


def _with_models(services: Services, state: GemsState, options: Options) -> Update:
    models = same_models(services, options, state.get("made_with"))
    check_limits(options, models)
    options["overlap"], options["models"] = models.overlap, models.names
    return {
        "options": options,
        "made_with": made_with(services, models),
        "attempts": [_without_denied(attempt) for attempt in state["attempts"]],
    }


def _without_denied(attempt: Attempt) -> Attempt:
    """An attempt as if nobody had been to judge it, where a limit forbade every call."""
    verdicts = attempt.get("verdicts", {})
    if not verdicts or any(verdict["evidence"] != OVER_BUDGET for verdict in verdicts.values()):
        return attempt
    judged = ("verdicts", "score")
    return cast("Attempt", {name: value for name, value in attempt.items() if name not in judged})
