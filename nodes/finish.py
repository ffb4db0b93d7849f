"""The last node: says how the trajectory ended."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import AIMessage

from gems.core.events import Finished, emit
from gems.core.ports import Services
from gems.core.state import Attempt, GemsState, Status, seconds_spent
from gems.memory.view import find_attempt
from gems.nodes.asking import Node, Update
from gems.nodes.intake import line_owner, run_record
from gems.nodes.lessons import owner_of
from gems.nodes.proposing import budget_spent


def make_finish(services: Services) -> Node:
    """The finish node: no calls."""

    async def finish(state: GemsState) -> Update:
        best = find_attempt(state["attempts"], state.get("best"))
        status: Status = "stopped" if state["stop_reason"] == "stopped" else "done" if best else "failed"
        result: dict[str, Any] = {
            "rounds": state["round"],
            "score": best.get("score", 0.0) if best else 0.0,
            "seconds": round(seconds_spent(state["spans"]), 3),
        }
        if state["stop_reason"] == "budget":
            result["limit"] = services.purses.of(state["trajectory_id"]).exhausted or budget_spent(state)
        if best is not None:
            result |= {"image": best["artifact"], "prompt": best["prompt"], "seed": best["seed"]}
            links = await asyncio.to_thread(lambda: services.links)
            if url := links.url(best["artifact"], owner_of(services)):
                result["image_url"] = url
            result["requirements"] = [
                {"question": item["question"], "verdict": best["verdicts"][item["id"]]["verdict"]}
                for item in state["requirements"]
            ]
        update: Update = {"status": status, "result": result}
        if state.get("messages"):
            update["messages"] = [_message(state, best, result.get("image_url"))]
        runs = await asyncio.to_thread(lambda: services.runs)
        await runs.record(run_record({**state, **update}, owner=line_owner(services)))  # type: ignore[typeddict-item]
        emit(
            Finished(
                event="finished",
                status=status,
                stop_reason=state["stop_reason"],
                best=best["id"] if best else None,
                artifact=best["artifact"] if best else None,
                score=result["score"],
            )
        )
        return update

    return finish


def _message(state: GemsState, best: Attempt | None, url: str | None) -> AIMessage:
    """The result as a chat shows it. Some front ends render the text as Markdown, others the block: the URL is in both."""
    words = _in_words(state, best)
    if url is None:
        return AIMessage(words)
    shown = f"![The picture]({url})\n\n{words}"
    return AIMessage([{"type": "text", "text": shown}, {"type": "image", "url": url, "mime_type": "image/png"}])


def _in_words(state: GemsState, best: Attempt | None) -> str:
    if best is None:
        return f"There is no picture yet ({state['stop_reason']})."
    names = [verdict["verdict"] for verdict in best["verdicts"].values()]
    return (
        f"Picture {best['artifact']}, of round {best['round']}: {names.count('met')} of {len(names)} requirements are met "
        f"({state['stop_reason']})."
    )
