"""What a branch does otherwise than the thread it comes from: its prompt, its seeds, its models, its limits."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from gems.core.context import GemsContext
from gems.core.errors import GemsConfigError
from gems.core.ports import Models, Services
from gems.core.state import Forked, GemsState, Options, Proposal
from gems.graph.forking import Checkpoint
from gems.nodes.brief import prompt_versions
from gems.nodes.checking import check_limits, check_references, read_prompt
from gems.nodes.fingerprint import changes as changes_of
from gems.nodes.fingerprint import made_with
from gems.nodes.given import CHANGEABLE
from gems.nodes.proposing import budget_spent, seed_of, undrawn

NULLABLE: Final = ("max_images", "max_calls", "max_tokens", "max_seconds", "max_cost", "patience")
"""Limits that may be none at all: then those of the new profile hold."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What was asked for. None, and options left out: as in the parent."""

    prompt: str | None = None
    options: GemsContext = field(default_factory=GemsContext)


class Branch(NamedTuple):
    """A branch that can begin. `changed` names what differs, for people."""

    state: GemsState
    changed: list[str]


def begin_branch(services: Services, thread_id: str, checkpoint: Checkpoint, changes: Changes) -> Branch:
    """The first state of a branch of a thread. This may block, and spends nothing.

    Its limits count what the shared rounds have cost, as if it had made them itself.

    Raises:
        GemsConfigError: nothing would differ, or what was asked for cannot work.
    """
    parent = checkpoint.state
    options = _options(services, parent["options"], changes.options)
    models = services.models(options["profile"])
    now = made_with(services, models)
    was = parent.get("made_with", {**now, **parent["options"]["models"]})
    if changes.options.profile is None and (told := changes_of(was, now)):
        raise GemsConfigError(
            f"since this run began, {'; '.join(told)}: set it back, or give --profile {options['profile']} to branch off "
            "with it as it is now"
        )
    options["models"], options["overlap"] = models.names, models.overlap
    state = cast("GemsState", {**parent, "options": options})
    proposals = undrawn(state) if "generator" in checkpoint.next else []
    if changes.prompt is not None and not proposals:
        raise GemsConfigError(
            f"at checkpoint {checkpoint.id} no drawing is about to be made that another prompt could change: "
            f"choose one before a round, or give --round"
        )
    altered = {it["id"]: _altered(state, it, changes) for it in proposals}
    state["proposals"] = [altered.get(it["id"], it) for it in parent["proposals"]]
    changed = [*_differences(parent, state), *changes_of(was, now)]
    if not changed:
        raise GemsConfigError(
            "nothing would differ from the parent: give a --prompt, --seed, --profile or limit other than its own"
        )
    warnings = _check(parent, state, models, list(altered.values()))
    branch: dict[str, Any] = {
        **state,
        "trajectory_id": uuid.uuid4().hex,
        "forked": Forked(thread=thread_id, checkpoint=checkpoint.id, round=checkpoint.round),
        "warnings": [*parent["warnings"], *(it for it in warnings if it not in parent["warnings"])],
        "made_with": now,
        # Those of the shared rounds are the parent's to judge.
        "lessons": [it for it in parent["lessons"] if it["round"] >= checkpoint.round],
        "versions": prompt_versions(services) if parent["versions"] else {},
        "status": "running",
        "result": {},
    }
    return Branch(cast("GemsState", branch), changed)


def _options(services: Services, before: Options, given: GemsContext) -> Options:
    options = before.copy()
    if given.profile is not None:
        _take_profile(services, options, given.profile)
    named = given.model_dump(include={*CHANGEABLE, "seed"}, exclude_none=True)
    if options["mode"] == "paper":
        named.pop("candidates", None)
    options.update(named)  # type: ignore[typeddict-item]
    return options


def _take_profile(services: Services, options: Options, name: str) -> None:
    """The models of another profile, and its limits where there were none: a paid model must not come without any."""
    profile = services.defaults(name)
    options["profile"] = profile.name
    options["critic"] = "single" if options["mode"] == "paper" else profile.critic.mode
    limits = {limit: getattr(profile, limit) for limit in NULLABLE if options[limit] is None}
    options.update(limits)  # type: ignore[typeddict-item]


def _altered(state: GemsState, proposal: Proposal, changes: Changes) -> Proposal:
    altered = proposal.copy()
    if changes.prompt is not None:
        altered["prompt"], altered["action"], altered["parent"] = read_prompt(changes.prompt), "rewrite", None
        if not altered["prompt"]:
            raise GemsConfigError("the prompt is empty: say what to draw")
    if changes.options.seed is not None:
        earlier = sum(attempt["round"] < proposal["round"] for attempt in state["attempts"])
        place = [it["id"] for it in state["proposals"]].index(proposal["id"])
        altered["seed"] = seed_of(state["options"], earlier + place)
    return altered


def _check(parent: GemsState, state: GemsState, models: Models, proposals: list[Proposal]) -> list[str]:
    """Refuse what the branch's models and limits cannot do; answer with warnings."""
    options, images = state["options"], models.images
    check_limits(options, models)
    check_references(images, state["request"].get("references", []))
    edits = [it["id"] for it in proposals if it["action"] == "edit"]
    if edits and not images.capabilities.edit:
        raise GemsConfigError(
            f"{edits[0]} is an edit, and {images.name} cannot edit: give a --prompt for a whole picture"
        )
    # The words of an edit only say what to change; those of the request are checked where nothing else is drawn.
    whole = [it["prompt"] for it in proposals if it["action"] != "edit"] or [state["request"]["prompt"]]
    warnings = [
        warning
        for prompt in dict.fromkeys(whole)
        for warning in images.check(prompt, options["width"], options["height"])
    ]
    if options["max_rounds"] < state["round"] - state["since"]:
        raise GemsConfigError(
            f"max_rounds {options['max_rounds']} is below round {state['round']}, where the branch begins"
        )
    if spent := budget_spent(state) if not budget_spent(parent) else "":
        raise GemsConfigError(f"{spent} is reached by the rounds that both share, which count: give more")
    return warnings


def _differences(parent: GemsState, state: GemsState) -> list[str]:
    before, after = cast("dict[str, Any]", parent["options"]), cast("dict[str, Any]", state["options"])
    # Of the models, the fingerprint tells.
    differing = [name for name, value in after.items() if value != before[name] and name != "models"]
    told = [f"{name} {_told(before[name])} → {_told(after[name])}" for name in differing]
    pairs = list(zip(parent["proposals"], state["proposals"], strict=True))
    prompts = [new["id"] for old, new in pairs if old["prompt"] != new["prompt"] or old["action"] != new["action"]]
    return [*told, *([f"prompt of {', '.join(prompts)}"] if prompts else [])]


def _told(value: object) -> str:
    return "none" if value is None else str(value)
