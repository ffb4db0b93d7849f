"""The agent as a LangGraph application: `graph` for the server, `open_graph` with memory, `build_graph` for your own."""

from gems.graph.build import GemsGraph, build_graph
from gems.graph.services import MachineServices, OwnServices, make_services
from gems.graph.serving import graph
from gems.graph.sessions import open_graph

__all__ = ["GemsGraph", "MachineServices", "OwnServices", "build_graph", "graph", "make_services", "open_graph"]
