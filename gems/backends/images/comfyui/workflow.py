"""A ComfyUI workflow in API format, as a graph that can be asked what feeds what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from gems.core.errors import GemsConfigError

EXPORT: Final = "in ComfyUI choose Workflow > Export (API), in older versions Save (API Format) with the dev mode on"
NAMED: Final = 12
"""Most nodes that a message lists."""

Json: TypeAlias = dict[str, Any]


class Slot(NamedTuple):
    """An input of a node: where a value goes."""

    node: str
    input: str

    def __str__(self) -> str:
        return f"{self.node}.{self.input}"


class Link(NamedTuple):
    """An output of a node, by its position, that feeds an input."""

    node: str
    output: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a workflow. An input holds a value, or a link to another node's output."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The node's title and id, for messages."""
        return f"{self.title!r} ({self.id})"

    @property
    def links(self) -> dict[str, Link]:
        """The inputs that other nodes feed."""
        return {name: link for name, value in self.inputs.items() if (link := as_link(value))}

    def values(self, kind: type) -> list[str]:
        """Names of the inputs that hold a value of exactly that type."""
        return [name for name, value in self.inputs.items() if type(value) is kind]


class Workflow:
    """The nodes of a workflow, by id."""

    def __init__(self, name: str, nodes: Mapping[str, Node]) -> None:
        """Take the nodes; `name` is for messages."""
        self.name = name
        self.nodes = nodes

    def above(self, output: str) -> tuple[Node, ...]:
        """All that the node needs, itself included, nearest first."""
        seen, queue = {output: None}, [output]
        for node in queue:
            for link in self.nodes[node].links.values():
                if link.node not in seen:
                    seen[link.node] = None
                    queue.append(link.node)
        return tuple(self.nodes[node] for node in seen)

    def origin(self, node: Node, name: str, kind: type) -> Slot | None:
        """Where the value of an input is written: in the input, or in the one node of values that feeds it."""
        slot = Slot(node.id, name)
        for _ in self.nodes:
            value = self.nodes[slot.node].inputs.get(slot.input)
            if type(value) is kind:
                return slot
            if (link := as_link(value)) is None:
                return None
            source = self.nodes[link.node]
            names = source.values(kind) or list(source.links)
            if len(names) != 1:
                return None
            slot = Slot(source.id, names[0])
        return None

    def find(self, reference: str) -> list[Node]:
        """The nodes of that title, or else the node of that id."""
        titled = [node for node in self.nodes.values() if node.title == reference]
        return titled or [node for node in self.nodes.values() if node.id == reference]

    def labels(self, nodes: Iterator[Node] | None = None) -> str:
        """Titles and ids, for messages."""
        labels = [node.label for node in (self.nodes.values() if nodes is None else nodes)]
        more = len(labels) - NAMED
        return ", ".join(labels[:NAMED]) + (f" and {more} more" if more > 0 else "")


def as_link(value: object) -> Link | None:
    """The link that an input's value stands for, if it is one."""
    match value:
        case [str(node), int(output)]:
            return Link(node, output)
    return None


def read_workflow(path: Path) -> Workflow:
    """Read a workflow file.

    Raises:
        GemsConfigError: there is no such file, or it holds no workflow in API format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GemsConfigError(f"there is no workflow file {str(path)!r}: write comfyui:FILE.json; {EXPORT}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise GemsConfigError(f"the workflow file {str(path)!r} cannot be read: {error}; {EXPORT}") from error
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        raise GemsConfigError(f"{str(path)!r} is a workflow as the page saves it, not in API format: {EXPORT}")
    if not isinstance(content, dict) or not content or not all(map(_is_node, content.values())):
        raise GemsConfigError(f"{str(path)!r} is no ComfyUI workflow in API format: {EXPORT}")
    nodes = {
        key: Node(key, it["class_type"], (it.get("_meta") or {}).get("title") or it["class_type"], it["inputs"])
        for key, it in content.items()
    }
    for node in nodes.values():
        for name, link in node.links.items():
            if link.node not in nodes:
                raise GemsConfigError(
                    f"{str(path)!r}: {name!r} of node {node.label} is fed by node {link.node!r}, which is not there"
                )
    return Workflow(path.name, nodes)


def _is_node(value: object) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("class_type"), str) and isinstance(value.get("inputs"), dict)
    )
