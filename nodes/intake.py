"""The first node: checks the request before anything is spent, and starts or continues a trajectory."""

from __future__ import annotations

import asyncio
import secrets
import time
import unicodedata
import uuid
from collections.abc import Sequence
from typing import Final, cast

from langgraph.config import get_config

from gems.core.context import MAX_PROMPT, GemsContext, Size
from gems.core.errors import GemsConfigError
from gems.core.events import emit
from gems.core.ports import DrawRequest, ImageGenerator, Models, PricedByRequest, RunRecord, Services
from gems.core.profiles import Profile
from gems.core.state import Attempt, GemsState, Options, Request
from gems.memory.view import find_attempt
from gems.nodes.asking import Node, Update, same_models
from gems.nodes.critic import OVER_BUDGET
from gems.nodes.estimate import estimate
from gems.nodes.given import read_context
from gems.nodes.proposing import budget_spent

PLANNING: Final = 3
"""Calls of a first round where the skills are given: a prompt, the requirements, a look."""
REDUCED: Final[tuple[str, ...]] = ("attempts", "experiences", "usage", "spans", "warnings")


def make_intake(services: Services) -> Node:
    """The intake node.

    Raises (when it runs):
        GemsConfigError: the request, an option, or the machine's settings cannot work.
    """

    async def intake(state: GemsState) -> Update:
        context = read_context()
        prompt = _read_prompt(state.get("prompt") or "")
        if prompt:
            references = await _read_references(services, state.get("references") or [])
            update = await asyncio.to_thread(_start, services, prompt, references, context)
        elif state.get("references"):
            raise GemsConfigError("references were given without a prompt: say what to draw")
        elif state.get("request"):
            update = await asyncio.to_thread(_continue, services, state, context)
        else:
            raise GemsConfigError("the prompt is empty: say what to draw")
        await services.artifacts.check()
        merged: GemsState = {**state, **update}  # type: ignore[typeddict-item]
        models = await asyncio.to_thread(services.models, merged["options"]["profile"])
        await services.runs.record(run_record(merged))
        emit(
            "started",
            prompt=merged["request"]["prompt"],
            profile=merged["options"]["profile"],
            seed=merged["options"]["seed"],
            estimate=estimate(merged["options"], models.prices),
            warnings=merged["warnings"],
        )
        # A new trajectory replaces what the channels' reducers would add to.
        return update | {name: {"__overwrite__": update[name]} for name in REDUCED if name in update}

    return intake


def run_record(state: GemsState) -> RunRecord:
    """The trajectory as a line of the runs index."""
    now = time.time()
    best = find_attempt(state["attempts"], state["best"]) if state.get("best") else None
    return RunRecord(
        thread_id=str(get_config().get("configurable", {}).get("thread_id", state["trajectory_id"])),
        trajectory_id=state["trajectory_id"],
        prompt=state["request"]["prompt"],
        profile=state["options"]["profile"],
        status=state["status"],
        stop_reason=state.get("stop_reason"),
        score=best.get("score") if best else None,
        rounds=state.get("round", 0),
        best=best.get("artifact") if best else None,
        started=now,
        updated=now,
    )


def _read_prompt(prompt: object) -> str:
    if not isinstance(prompt, str):
        raise GemsConfigError(f"the prompt is {type(prompt).__name__}, not text")
    if len(prompt) > MAX_PROMPT:
        raise GemsConfigError(f"the prompt has {len(prompt)} characters; the limit is {MAX_PROMPT}: shorten it")
    # Cc: control characters; Cs: halves of surrogate pairs, which is what decoded binary leaves behind.
    strange = next(
        (char for char in prompt if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\r\t"), None
    )
    if strange is not None:
        raise GemsConfigError(f"the prompt holds {strange!r}, which is no text: is it a binary file?")
    return prompt.strip()


async def _read_references(services: Services, references: Sequence[str]) -> list[str]:
    for artifact in references:
        if not isinstance(artifact, str):
            raise GemsConfigError(f"a reference is an artifact id, not {type(artifact).__name__}")
        if not await services.artifacts.has(artifact):
            raise GemsConfigError(
                f"there is no image {artifact!r} to refer to: store it first, and give its artifact id"
            )
    return list(references)


def _start(services: Services, prompt: str, references: list[str], context: GemsContext) -> Update:
    options = _resolve(services.defaults(context.profile), context)
    models = services.models(options["profile"])
    _check_limits(options, models)
    _check_references(models.images, references)
    options["overlap"] = models.overlap
    options["models"] = models.names
    warnings = models.images.check(prompt, options["width"], options["height"])
    warnings += services.skills.warnings()
    _ = services.prompts  # a folder that cannot be read is told now
    for name in options["skills"] or []:
        services.skills.read(name)
    return {
        "trajectory_id": uuid.uuid4().hex,
        "request": Request(prompt=prompt, references=references) if references else Request(prompt=prompt),
        "options": options,
        "warnings": warnings,
        "versions": {},
        "requirements": [],
        "round": 0,
        "proposals": [],
        "attempts": [],
        "best": None,
        "thought": "",
        "experiences": [],
        "usage": {},
        "spans": [],
        "status": "running",
        "stop_reason": None,
        "result": {},
    }


def _check_limits(options: Options, models: Models) -> None:
    """Refuse limits with which no picture could be drawn and looked at."""
    least = PLANNING + 1 if options["skills"] is None else PLANNING
    if options["max_calls"] is not None and options["max_calls"] < least:
        raise GemsConfigError(
            f"max_calls {options['max_calls']} is too small: planning, and one look at one picture, take {least} calls"
        )
    if options["max_cost"] is not None and models.prices is not None:
        drawing = DrawRequest("", options["seed"], options["width"], options["height"])
        images = models.images
        picture = images.worst_cost(drawing) if isinstance(images, PricedByRequest) else models.prices.image
        most = picture + models.prices.call
        if options["max_cost"] < most:
            raise GemsConfigError(
                f"max_cost {options['max_cost']:g} is too small: one picture, and one look at it, may take ${most:.4f}; "
                "raise it, or lower chat.max_tokens in the profile"
            )
    if options["max_cost"] is not None and models.prices is None:
        raise GemsConfigError(
            f"max_cost {options['max_cost']:g} needs the prices of all models of the profile {options['profile']!r}: "
            'set them in gems.toml as [prices."provider:model"] with input, output and image'
        )


def _check_references(images: ImageGenerator, references: Sequence[str]) -> None:
    most = images.capabilities.references
    if len(references) > most:
        raise GemsConfigError(
            f"{images.name} takes {most or 'no'} reference images, not {len(references)}: choose another profile, or set "
            "drawing.edit = true in this one if its model can edit"
        )


def _continue(services: Services, state: GemsState, context: GemsContext) -> Update:
    """A trajectory goes on, with what the context raises. A finished one needs room for another round."""
    options = state["options"].copy()
    given = context.model_dump(exclude_none=True)
    before = {**options, "size": f"{options['width']}x{options['height']}"}
    for fixed in ("profile", "mode", "seed", "size", "skills"):
        if fixed in given and given.pop(fixed) != before[fixed]:
            raise GemsConfigError(
                f"{fixed} cannot change when a trajectory continues; give a prompt to start a new one"
            )
    options.update(given)  # type: ignore[typeddict-item]
    if options["mode"] == "paper":
        options["candidates"] = 1
    reason = state.get("stop_reason")
    if reason and reason not in ("satisfied", "unverified"):
        if state["round"] >= options["max_rounds"]:
            raise GemsConfigError(f"{state['round']} rounds are done: continue with max_rounds above that")
        if spent := budget_spent({**state, "options": options}):
            raise GemsConfigError(f"{spent} is reached: continue with a higher {spent}")
    models = same_models(services, options)
    _check_limits(options, models)
    options["overlap"] = models.overlap
    status = "done" if reason == "satisfied" else "running"
    return {
        "options": options,
        "attempts": [_without_denied(attempt) for attempt in state["attempts"]],
        "status": status,
        "stop_reason": reason if status == "done" else None,
    }


def _without_denied(attempt: Attempt) -> Attempt:
    """An attempt as if nobody had been to judge it, where a limit forbade every call."""
    verdicts = attempt.get("verdicts", {})
    if not verdicts or any(verdict["evidence"] != OVER_BUDGET for verdict in verdicts.values()):
        return attempt
    judged = ("verdicts", "score")
    return cast("Attempt", {name: value for name, value in attempt.items() if name not in judged})


def _resolve(profile: Profile, context: GemsContext) -> Options:
    """The context's options, and the profile's where it leaves them out."""
    given = {**profile.model_dump(), **context.model_dump(exclude_none=True)}
    width, height = Size.parse(given["size"])
    paper = given["mode"] == "paper"
    return Options(
        profile=profile.name,
        models={},
        mode=given["mode"],
        max_rounds=given["max_rounds"],
        max_images=given["max_images"],
        max_calls=given["max_calls"],
        max_seconds=given["max_seconds"],
        max_cost=given["max_cost"],
        critic="single" if paper else profile.critic.mode,
        patience=given["patience"],
        candidates=1 if paper else given["candidates"],
        seed=secrets.randbelow(2**31) if context.seed is None else context.seed,
        width=width,
        height=height,
        overlap=True,
        skills=context.skills,
    )
