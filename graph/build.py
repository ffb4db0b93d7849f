"""Assembles the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer

from gems.core.context import GemsContext, GemsInput, GemsOutput
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.state import GemsState
from gems.graph import routing
from gems.graph.bridge import NodeRunnable
from gems.graph.services import MachineServices
from gems.graph.tracing import TracedGraph
from gems.nodes.amender import make_amender
from gems.nodes.asking import Node
from gems.nodes.brief import make_brief
from gems.nodes.compressor import make_compressor
from gems.nodes.critic import make_critic
from gems.nodes.decomposer import make_decomposer
from gems.nodes.distiller import make_distiller
from gems.nodes.finish import make_finish
from gems.nodes.generator import make_generator
from gems.nodes.intake import make_intake
from gems.nodes.planner import make_planner
from gems.nodes.refiner import make_refiner
from gems.nodes.review import make_review

GemsGraph = CompiledStateGraph[GemsState, GemsContext, GemsInput, GemsOutput]

NODES: Final = {
    "intake": make_intake,
    "planner": make_planner,
    "decomposer": make_decomposer,
    "amender": make_amender,
    "brief": make_brief,
    "generator": make_generator,
    "critic": make_critic,
    "review": make_review,
    "refiner": make_refiner,
    "compressor": make_compressor,
    "distiller": make_distiller,
    "finish": make_finish,
}


def build_graph(
    services: Services | None = None,
    *,
    nodes: Mapping[str, Node] | None = None,
    checkpointer: Checkpointer = None,
    name: str = "gems",
) -> GemsGraph:
    """The GEMS loop as a compiled graph.

    Args:
        services: Models, stores and skills; default: what this machine's settings say. `OwnServices` puts your own
            chat models, image generator or stores in their place.
        nodes: Async functions from state to update that replace nodes of the same name.
        checkpointer: A saver, for a graph that stands alone; a subgraph takes its parent's.
        name: The graph's name.

    Raises:
        GemsConfigError: `nodes` names a node that the graph does not have.
    """
    services = services or MachineServices()
    own = dict(nodes or {})
    if strange := own.keys() - NODES.keys():
        raise GemsConfigError(f"no node is called {sorted(strange)[0]!r}; there are: {', '.join(NODES)}")
    builder = StateGraph(GemsState, context_schema=GemsContext, input_schema=GemsInput, output_schema=GemsOutput)
    for node, make in NODES.items():
        builder.add_node(node, NodeRunnable(own.get(node) or make(services), node, services))
    builder.add_edge(START, "intake")
    builder.add_conditional_edges(
        "intake",
        routing.after_intake,
        ["planner", "decomposer", "brief", "amender", "generator", "critic", "review", "finish"],
    )
    builder.add_edge(["planner", "decomposer"], "brief")
    builder.add_conditional_edges("brief", routing.after_brief, ["generator", "finish"])
    builder.add_edge("amender", "critic")
    builder.add_edge("generator", "critic")
    builder.add_conditional_edges("critic", routing.after_critic, ["review", "generator"])
    builder.add_conditional_edges("review", routing.after_review, ["refiner", "distiller", "finish"])
    builder.add_edge("distiller", "finish")
    builder.add_conditional_edges("refiner", routing.after_refiner, ["generator", "compressor", "review"])
    builder.add_conditional_edges("compressor", routing.after_compressor, ["generator", END])
    builder.add_edge("finish", END)
    graph: Any = builder.compile(checkpointer=checkpointer, name=name)
    return TracedGraph(**graph.__dict__)
