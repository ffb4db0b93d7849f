"""GEMS inside a graph of your own: it draws, a person approves or asks for a change, and the parent remembers.

Run it: `python docs/examples/parent_graph.py`. It needs no key: the embedded engine draws.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from gems.core.context import GemsContext
from gems.core.ports import Services
from gems.graph import build_graph


class Order(TypedDict, total=False):
    """What the parent knows. `prompt` and `result` are shared with GEMS by name."""

    prompt: str
    result: dict[str, Any]
    approved: bool


def approve(state: Order) -> Command[Literal["draw", "__end__"]]:
    """Stop and ask a person: "yes" ends, any other answer is the next prompt."""
    answer = interrupt(
        {"image": state["result"]["image"], "score": state["result"]["score"], "question": "Is this right?"}
    )
    if answer == "yes":
        return Command(update={"approved": True}, goto=END)
    return Command(update={"prompt": answer}, goto="draw")


def order_desk(
    services: Services | None = None, saver: BaseCheckpointSaver[Any] | None = None
) -> CompiledStateGraph[Order, GemsContext, Order, Order]:
    """The parent graph, with its own saver; the subgraph's checkpoints go there too."""
    builder = StateGraph(Order, context_schema=GemsContext)
    builder.add_node("draw", build_graph(services))
    builder.add_node("approve", approve)
    builder.add_edge(START, "draw")
    builder.add_edge("draw", "approve")
    graph: Any = builder.compile(checkpointer=saver or InMemorySaver())
    return graph  # type: ignore[no-any-return]


def main() -> None:
    """Draw, ask for a change as a person would, and approve."""
    desk = order_desk()
    thread: Any = {"configurable": {"thread_id": "order-1"}}
    context = GemsContext(size="512x512", seed=7)
    for step in (
        {"prompt": "a red apple"},
        Command(resume="two red apples left of a blue vase"),
        Command(resume="yes"),
    ):
        state = desk.invoke(step, thread, context=context)
        sys.stdout.write(
            f"{state['prompt']}: score {state['result']['score']:.2f}, approved {state.get('approved', False)}\n"
        )


if __name__ == "__main__":
    main()
