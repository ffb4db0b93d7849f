"""The refiner: reads the trajectory view, says what went wrong, and decides what to draw next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gems.core.events import Refined, RoundBegan, emit
from gems.core.messages import EncodedImage
from gems.core.ports import Services
from gems.core.replies import NextAction, Refinement
from gems.core.state import ActionName, Attempt, GemsState, Proposal, Requirement, Thought
from gems.memory.view import RECENT, find_attempt, latest_attempt, trajectory_view, verdict_of
from gems.nodes.asking import Node, Update, abilities_of, ask, models_of, show
from gems.nodes.lessons import LESSONS, fitting
from gems.nodes.proposing import room_for, seed_of
from gems.nodes.quoted import keep_quoted, quoted_texts

REFINE: Final = """\
You improve pictures made by a text-to-image model, round after round. The block holds the request, its requirements, \
what earlier rounds taught, the latest attempt and the best one with their verdicts, and prompts already tried; their \
pictures follow.
Say what failed and why. Then give `wanted` actions out of `actions`: rewrite draws a new prompt; resample draws a tried \
prompt again with another seed, good when it nearly worked; edit changes the best picture as the prompt instructs.
Write whole prompts that can stand alone. Keep what was met; put what was unmet first and make it concrete: exact \
counts, which colour belongs to which thing, where each thing stands. Do not repeat a rewrite that failed. Copy each text \
in `quoted` letter by letter, in double quotes."""

NOTES: Final = {
    "remarks": "`remarks` are the user's own words about earlier pictures: follow them first.",
    "lessons": LESSONS,
}
"""What is said about fields that are not always there."""
WISHED: Final = "The user wrote the next prompt."
MOST_THOUGHT: Final = 4000
"""Characters of a thought that are kept."""
VIEW_SIDE: Final = 512
"""Longest side, in pixels, of the pictures in the trajectory view."""


def make_refiner(services: Services) -> Node:
    """The refiner node: one call; none where the user wrote the next prompt."""

    async def refiner(state: GemsState) -> Update:
        if state["wish"]:
            return await _as_wished(services, state)
        capabilities = await abilities_of((await models_of(services, state)).images)
        wanted = room_for(state["options"], state["usage"], ahead=2)
        actions = _actions(state, capabilities.edit)
        quoted = quoted_texts(state["request"]["prompt"])
        fields = trajectory_view(state) | {
            "wanted": wanted,
            "actions": actions,
            "quoted": quoted,
            "image_model": {"notes": capabilities.notes},
        }
        failed = _failed(state)
        text = " ".join(item["question"] for item in failed) or state["request"]["prompt"]
        lessons = await fitting(services, state, text, {it["kind"] for it in failed}, for_round=state["round"] + 1)
        fields |= lessons.fields
        notes = [note for name, note in NOTES.items() if name in fields]
        images = await _pictures(services, state)
        answer = await ask(services, state, "refiner", "refine", REFINE, fields, Refinement, images, notes)
        if answer.problem == "over budget":
            # A picture that nobody could look at is not worth its price.
            return {"usage": answer.usage}
        warnings = lessons.warnings
        if answer.reply is None:
            refinement = _resample(state)
            warnings = [
                *warnings,
                f"refiner, round {state['round']}: the reply was {answer.problem}; the prompt is drawn again",
            ]
        else:
            refinement = answer.reply
        proposals = _propose(state, refinement.actions, wanted, actions, quoted)
        thought = answer.thoughts or refinement.diagnosis
        return _next_round(state, proposals, refinement.diagnosis) | {
            "thought": thought,
            "thoughts": _thoughts(state, thought),
            "lessons": [*state["lessons"], *lessons.given],
            "usage": answer.usage,
            "warnings": warnings,
        }

    return refiner


async def _as_wished(services: Services, state: GemsState) -> Update:
    """The user's own prompt is drawn as it stands, by every candidate with a seed of its own."""
    actions = _actions(state, (await abilities_of((await models_of(services, state)).images)).edit)
    wanted = room_for(state["options"], state["usage"], ahead=1)
    wishes = [NextAction(action="rewrite", prompt=state["wish"])]
    proposals = _propose(state, wishes, wanted, actions, [])
    return _next_round(state, proposals, WISHED) | {"thought": WISHED, "wish": ""}


def _next_round(state: GemsState, proposals: list[Proposal], diagnosis: str) -> Update:
    actions = [proposal["action"] for proposal in proposals]
    prompts = [proposal["prompt"] for proposal in proposals]
    emit(Refined(event="refined", round=state["round"], diagnosis=diagnosis, actions=actions, prompts=prompts))
    number = state["round"] + 1
    emit(RoundBegan(event="round", round=number, attempts=[proposal["id"] for proposal in proposals]))
    return {"round": number, "proposals": proposals}


def _thoughts(state: GemsState, thought: str) -> list[Thought]:
    """The thoughts that are remembered. The journal has all of them; the state, which is written at each step, a few."""
    if state["options"]["memory"] != "thoughts":
        return []
    return [*state["thoughts"], Thought(round=state["round"], text=thought[:MOST_THOUGHT])][-RECENT:]


def _failed(state: GemsState) -> list[Requirement]:
    """What the latest attempt does not meet."""
    latest = latest_attempt(state)
    return [item for item in state["requirements"] if verdict_of(latest, item["id"]) in ("unmet", "unknown")]


def _actions(state: GemsState, can_edit: bool) -> list[ActionName]:
    if state["options"]["mode"] == "paper":
        return ["rewrite"]
    return ["rewrite", "resample", "edit"] if can_edit and state.get("best") else ["rewrite", "resample"]


async def _pictures(services: Services, state: GemsState) -> list[EncodedImage]:
    if state["options"]["memory"] in ("none", "prompts"):
        return []
    latest = latest_attempt(state)
    best = find_attempt(state["attempts"], state.get("best"))
    shown = [(latest, "The latest picture:")]
    if best is not None and best["id"] != latest["id"]:
        shown.append((best, "The best picture:"))
    return [
        await show(services.artifacts, attempt["artifact"], label, VIEW_SIDE)
        for attempt, label in shown
        if "artifact" in attempt
    ]


def _resample(state: GemsState) -> Refinement:
    """What is done when no advice can be had: the best prompt, with other seeds."""
    attempts = _redrawable(state)
    source = find_attempt(attempts, state.get("best")) or attempts[-1]
    return Refinement(diagnosis="", actions=[NextAction(action="resample", prompt=source["prompt"])])


def _redrawable(state: GemsState) -> list[Attempt]:
    """Attempts whose prompt describes a whole picture; an edit's only says what to change. The first round has no edits."""
    return [attempt for attempt in state["attempts"] if attempt["action"] != "edit"]


def _propose(
    state: GemsState, wishes: Sequence[NextAction], wanted: int, actions: Sequence[ActionName], quoted: Sequence[str]
) -> list[Proposal]:
    """One proposal a candidate: the wishes in turn, repeated as needed (a repeat has its own seed)."""
    number = state["round"] + 1
    drawn = len(state["attempts"])
    tried = {attempt["prompt"] for attempt in _redrawable(state)}
    proposals = []
    for place in range(wanted):
        wish = wishes[place % len(wishes)]
        action: ActionName = "edit" if wish.action == "edit" and "edit" in actions else "rewrite"
        prompt = wish.prompt if action == "edit" else keep_quoted(_whole(state, wish), quoted)
        if action != "edit" and prompt in tried and "resample" in actions:
            action = "resample"
        proposals.append(
            Proposal(
                id=f"{number}.{place + 1}",
                round=number,
                action=action,
                prompt=prompt,
                seed=seed_of(state["options"], drawn + place),
                parent=_parent(state, action, prompt),
            )
        )
        tried.add(prompt)
    return proposals


def _whole(state: GemsState, wish: NextAction) -> str:
    """The wish as a whole prompt: an edit that cannot be made becomes the best prompt with the change added."""
    if wish.action != "edit":
        return wish.prompt
    attempts = _redrawable(state)
    base = find_attempt(attempts, state.get("best")) or attempts[-1]
    return f"{base['prompt'].rstrip().rstrip('.')}. {wish.prompt}"


def _parent(state: GemsState, action: ActionName, prompt: str) -> str | None:
    """The attempt a proposal comes from: the best one for an edit, the one with the same prompt for a resample."""
    if action == "edit":
        return state["best"]
    same = [attempt for attempt in _redrawable(state) if attempt["prompt"] == prompt]
    return same[0]["id"] if action == "resample" and same else None
