"""The first node: checks the request before anything is spent, and starts or continues a trajectory."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from typing import Final

from langchain_core.messages import HumanMessage
from langgraph.config import get_config

from gems.core.context import GemsContext, Size
from gems.core.errors import GemsConfigError
from gems.core.events import Heard, Started, emit
from gems.core.ports import RunRecord, Services
from gems.core.profiles import Profile
from gems.core.state import SCHEMA, UNREADABLE, GemsState, Options, Request
from gems.memory.owned import current_user
from gems.memory.view import find_attempt
from gems.nodes.asking import Node, Update
from gems.nodes.checking import check_limits, check_references, read_prompt, read_references, read_restart
from gems.nodes.continuing import follow_up, go_on
from gems.nodes.estimate import estimate
from gems.nodes.fingerprint import made_with
from gems.nodes.given import read_context

REDUCED: Final[tuple[str, ...]] = ("attempts", "experiences", "usage", "spans", "warnings")


def make_intake(services: Services) -> Node:
    """The intake node.

    Raises (when it runs):
        GemsConfigError: the request, an option, or the machine's settings cannot work.
    """

    async def intake(state: GemsState) -> Update:
        context = read_context()
        await _check_owner(services)
        message = _new_message(state)
        prompt = read_prompt(state.get("prompt") or (_text(message) if message else ""))
        goes_on = bool(state.get("request")) and not read_restart(state.get("restart"))
        if prompt:
            references = await read_references(services, state.get("references") or [])
            if not goes_on or _came_to_nothing(state):
                update = await asyncio.to_thread(_start, services, prompt, references, context)
            elif state["best"] is None and not state.get("prompt"):
                # A chat cannot let its run finish first: what is said before there is a picture is said of the request.
                prompt = read_prompt(f"{state['request']['prompt']}\n{prompt}")
                shown = list(dict.fromkeys([*state["request"].get("references", []), *references]))
                update = await asyncio.to_thread(_start, services, prompt, shown, context)
            else:
                update = await asyncio.to_thread(follow_up, services, state, prompt, references, context)
        elif state.get("references"):
            raise GemsConfigError("references were given without a prompt: say what to draw")
        elif goes_on:
            update = await asyncio.to_thread(go_on, services, state, context)
        else:
            raise GemsConfigError("the prompt is empty: say what to draw")
        if message:
            update["heard"] = message.id or ""
        if update["options"]["review"] != "none" and not _is_kept():
            raise GemsConfigError(
                f"review {update['options']['review']!r} needs a graph that keeps its threads: open_graph(), or a "
                "checkpointer of your own"
            )
        if update["options"]["lessons"]:
            # A store of another version is told now, not in the middle.
            await (await asyncio.to_thread(lambda: services.lessons)).check()
        await services.artifacts.check()
        merged: GemsState = {**state, **update}  # type: ignore[typeddict-item]
        models = await asyncio.to_thread(services.models, merged["options"]["profile"])
        await services.runs.record(run_record(merged, owner=line_owner(services)))
        options = merged["options"]
        emit(
            Started(
                event="started",
                prompt=merged["request"]["prompt"],
                profile=options["profile"],
                seed=options["seed"],
                width=options["width"],
                height=options["height"],
                max_rounds=options["max_rounds"],
                candidates=options["candidates"],
                estimate=estimate(options, models.prices),
                warnings=merged["warnings"],
            )
        )
        if merged["follow_up"]:
            emit(Heard(event="heard", message=merged["follow_up"], rounds=merged["round"]))
        # A new trajectory replaces what the channels' reducers would add to.
        return update | {name: {"__overwrite__": update[name]} for name in REDUCED if name in update}

    return intake


async def _check_owner(services: Services) -> None:
    """A checkpoint that outlived its thread on the server must not go on for another user who takes its id."""
    user, thread_id = current_user(), get_config().get("configurable", {}).get("thread_id")
    known = await services.runs.find(str(thread_id)) if user and thread_id else None
    if known and (known.owner or services.owner) != user:
        raise GemsConfigError(f"there is no thread {str(thread_id)!r}: begin another one")


def _came_to_nothing(state: GemsState) -> bool:
    """Whether the run ended without any picture: then a message asks for another one, and changes none."""
    return state["status"] == "failed" and state["best"] is None


def _new_message(state: GemsState) -> HumanMessage | None:
    """The last message of a chat, where that is the user's and was not worked on yet: a run cut off has not answered it."""
    last = state["messages"][-1] if state.get("messages") else None
    return last if isinstance(last, HumanMessage) and last.id != state.get("heard") else None


def _text(message: HumanMessage) -> str:
    kinds = {part.get("type") for part in message.content if isinstance(part, dict)} - {"text"}
    if UNREADABLE in kinds:
        raise GemsConfigError('a message cannot be read: give {"role": "user", "content": "what to draw"}')
    if kinds:
        found = ", ".join(sorted(map(str, kinds)))
        raise GemsConfigError(
            f"a message holds more than text ({found}): POST an image to /gems/images, and give the id that it answers in "
            "references"
        )
    return message.text


def _is_kept() -> bool:
    """Whether this run has a checkpointer. LangGraph tells its nodes so in the configuration."""
    return bool(get_config().get("configurable", {}).get("__pregel_checkpointer"))


def line_owner(services: Services) -> str:
    """Whose a run is in the index: a user's of the server, or nobody's; those are of whoever owns the machine."""
    user = current_user()
    return "" if user is None or user == services.owner else user


def run_record(state: GemsState, thread_id: str = "", owner: str = "") -> RunRecord:
    """The trajectory as a line of the runs index; without a `thread_id`, for the thread that is being run."""
    now = time.time()
    best = find_attempt(state["attempts"], state["best"]) if state.get("best") else None
    return RunRecord(
        thread_id=thread_id or str(get_config().get("configurable", {}).get("thread_id", state["trajectory_id"])),
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
        owner=owner,
    )


def _start(services: Services, prompt: str, references: list[str], context: GemsContext) -> Update:
    options = _resolve(services.defaults(context.profile), context)
    models = services.models(options["profile"])
    check_limits(options, models)
    check_references(models.images, references)
    options["overlap"] = models.overlap
    options["models"] = models.names
    warnings = models.images.check(prompt, options["width"], options["height"])
    warnings += services.skills.warnings()
    _ = services.prompts  # a folder that cannot be read is told now
    for name in options["skills"] or []:
        services.skills.read(name)
    return {
        "schema": SCHEMA,
        "trajectory_id": uuid.uuid4().hex,
        "made_with": made_with(services, models),
        "forked": None,
        "follow_up": "",
        "request": Request(prompt=prompt, references=references) if references else Request(prompt=prompt),
        "options": options,
        "warnings": warnings,
        "versions": {},
        "plan": {"skills": {}, "reason": "", "prompts": []},
        "requirements": [],
        "round": 0,
        "since": 0,
        "proposals": [],
        "attempts": [],
        "best": None,
        "rulings": [],
        "remarks": [],
        "wish": "",
        "thought": "",
        "thoughts": [],
        "experiences": [],
        "digest": {"until": 0, "text": ""},
        "lessons": [],
        "distilled": 0,
        "usage": {},
        "spans": [],
        "status": "running",
        "stop_reason": None,
        "result": {},
    }


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
        max_tokens=given["max_tokens"],
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
        review=given["review"],
        memory=given["memory"],
        lessons=given["lessons"] and not paper,
    )
