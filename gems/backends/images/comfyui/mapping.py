"""Finds where a workflow takes its prompt, seed, size and images, and where its picture comes out.

What the settings name holds. For the rest: titles, then what feeds the sampler. A workflow may have several outputs, of
which one draws from nothing and another starts from a source picture; each with all that feeds it is a branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gems.backends.images.comfyui.workflow import Link, Node, Slot, Workflow
from gems.core.errors import GemsConfigError

TEXTS: Final = (("text",), ("prompt",), ("text_g", "text_l"), ("clip_l", "clip_g", "t5xxl"), ("value",), ("string",))
"""Names under which nodes take a text; those of one group take the same one."""
OBVIOUS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "prompt": TEXTS,
    "negative_prompt": TEXTS,
    "seed": (("seed",), ("noise_seed",), ("value",)),
    "width": (("width",), ("value",)),
    "height": (("height",), ("value",)),
    "steps": (("steps",), ("value",)),
    "guidance_scale": (("guidance",), ("cfg",), ("value",)),
    "true_cfg_scale": (("cfg",), ("value",)),
    "source": (("image",),),
    "reference": (("image",),),
}
"""The input that is meant when a setting names a node alone."""
TITLES: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("gems prompt", "positive prompt"),
    "negative_prompt": ("gems negative prompt", "negative prompt"),
}
RESIZED: Final = {"image", "images", "pixels", "samples", "mask", "latent"}
"""A node with a width and one of these changes the size of something; it does not decide the drawing's."""
SAVERS: Final = ("SaveImage", "PreviewImage")
REFERENCE: Final = re.compile(r"reference_([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Branch:
    """An output of a workflow, the nodes that feed it, and the inputs that a drawing fills."""

    output: Node
    nodes: tuple[Node, ...]
    slots: Mapping[str, tuple[Slot, ...]]
    source: Slot | None
    references: tuple[Slot, ...]

    @property
    def samplers(self) -> frozenset[str]:
        """Ids of the nodes whose progress is the drawing's."""
        return frozenset(
            node.id for node in self.nodes if "sampler" in node.class_type.lower() or "latent_image" in node.inputs
        )

    def filled(self, values: Mapping[Slot, Any]) -> dict[str, dict[str, Any]]:
        """The branch in API format, with values in their slots."""
        return {
            node.id: {
                "class_type": node.class_type,
                "inputs": {name: values.get(Slot(node.id, name), value) for name, value in node.inputs.items()},
                "_meta": {"title": node.title},
            }
            for node in self.nodes
        }


def find_branches(workflow: Workflow, named: Mapping[str, str], edit: bool | None) -> tuple[Branch, ...]:
    """The ways a workflow can draw, one for each kind of request.

    Args:
        workflow: The workflow.
        named: What the settings say: `prompt`, `seed`, ... to a node's title or id, then `.input` if it is not obvious.
        edit: False leaves the workflow's own picture where a source would go; True insists on a place for a source.

    Raises:
        GemsConfigError: a place is not to be found, or is not clear.
    """
    finder = _Finder(workflow, named, edit)
    branches: dict[tuple[bool, int], Branch] = {}
    for output in finder.outputs():
        branch = finder.branch(output)
        kind = branch.source is not None, len(branch.references)
        if kind in branches:
            raise GemsConfigError(
                f"{workflow.name} has several outputs of one kind: {branches[kind].output.label}, {output.label}; "
                + setting("output", output)
            )
        branches[kind] = branch
    used = {slot for branch in branches.values() for slot in _all_slots(branch)}
    for field, slots in finder.named.items():
        if not used.intersection(slots) and not (field == "source" and edit is False):
            raise GemsConfigError(f"drawing.nodes: {field} = {named[field]!r} does not lead to the workflow's output")
    if edit and not any(branch.source for branch in branches.values()):
        raise GemsConfigError(
            f"drawing.edit is true, but {workflow.name} has no Load Image node that takes a source picture"
        )
    return tuple(branches.values())


def setting(field: str, example: Node) -> str:
    """How to name a place in the settings."""
    return f'name one in [profiles.NAME.drawing.nodes], such as {field} = "{example.id}" (a title or an id)'


class _Finder:
    def __init__(self, workflow: Workflow, named: Mapping[str, str], edit: bool | None) -> None:
        self._workflow = workflow
        self._edit = edit
        self._output_names = {key: value for key, value in named.items() if key in ("output", "edit_output")}
        self.named = {key: self._slots(key, value) for key, value in named.items() if key not in self._output_names}

    def outputs(self) -> list[Node]:
        if self._output_names:
            return [self._node(field, name) for field, name in self._output_names.items()]
        nodes = list(self._workflow.nodes.values())
        for found in (
            [node for node in nodes if node.title.lower() in ("gems output", "gems edit output")],
            *([node for node in nodes if node.class_type == saver] for saver in SAVERS),
        ):
            if found:
                return found
        raise GemsConfigError(
            f"{self._workflow.name} has no Save Image or Preview Image node; add one, or name the output in "
            f"[profiles.NAME.drawing.nodes]; its nodes: {self._workflow.labels()}"
        )

    def branch(self, output: Node) -> Branch:
        nodes = self._workflow.above(output.id)
        source, references = self._images(nodes)
        slots = {
            "prompt": self._prompt(nodes),
            "seed": self._given("seed", nodes) or self._all(nodes, ("seed", "noise_seed"), int),
            "width": self._given("width", nodes) or self._size(nodes, "width"),
            "height": self._given("height", nodes) or self._size(nodes, "height"),
            "steps": self._given("steps", nodes) or self._all(nodes, ("steps",), int),
            "guidance_scale": self._given("guidance_scale", nodes)
            or self._all(nodes, ("guidance",), float, int)
            or self._all(nodes, ("cfg",), float, int),
            "true_cfg_scale": self._given("true_cfg_scale", nodes) or self._all(nodes, ("cfg",), float, int),
        }
        negative = self._given("negative_prompt", nodes) or self._text("negative_prompt", nodes)
        # A negative side that is the prompt with its effect taken away has no text of its own.
        slots["negative_prompt"] = negative if not set(negative) & set(slots["prompt"]) else ()
        return Branch(output, nodes, slots, source, references)

    def _given(self, field: str, nodes: Iterable[Node]) -> tuple[Slot, ...]:
        """What the settings name, where it feeds this output."""
        ids = {node.id for node in nodes}
        return tuple(slot for slot in self.named.get(field, ()) if slot.node in ids)

    def _prompt(self, nodes: tuple[Node, ...]) -> tuple[Slot, ...]:
        found = self._given("prompt", nodes) or self._text("prompt", nodes)
        if found:
            return found
        candidates = [node for node in nodes if node.values(str) and not node.class_type.startswith(("Load", *SAVERS))]
        example = candidates[0] if candidates else nodes[0]
        raise GemsConfigError(
            f"{self._workflow.name}: it is not clear which node takes the prompt; "
            f"there are: {self._workflow.labels(iter(candidates or nodes))}; {setting('prompt', example)}"
        )

    def _text(self, field: str, nodes: tuple[Node, ...]) -> tuple[Slot, ...]:
        own, usual = TITLES[field]
        for titled in (
            [node for node in nodes if node.title.lower() == own],
            [node for node in nodes if usual in node.title.lower()],
        ):
            if len(titled) == 1 and (slots := self._texts_of(titled[0])):
                return slots
        side = "positive" if field == "prompt" else "negative"
        starts = [node.links[side] for node in nodes if side in node.links]
        if field == "prompt":
            starts += [
                node.links["conditioning"]
                for node in nodes
                if "guider" in node.class_type.lower() and "conditioning" in node.links
            ]
        found = {slots for start in starts for slots in self._texts_behind(start)}
        if not found and field == "prompt":
            encoders = [node for node in nodes if "textencode" in node.class_type.lower() or "prompt" in node.inputs]
            found = {slots for node in encoders if (slots := self._texts_of(node))}
        return found.pop() if len(found) == 1 else ()

    def _texts_behind(self, start: Link) -> set[tuple[Slot, ...]]:
        """Texts that reach a conditioning."""
        found, seen, queue = set(), {start}, [start]
        for link in queue:
            node = self._workflow.nodes[link.node]
            if slots := self._texts_of(node):
                found.add(slots)
                continue
            links = node.links
            if "positive" in links and "negative" in links:
                # By the order of their outputs, nodes that take both sides give both sides.
                onward = [links["negative" if link.output == 1 else "positive"]]
            else:
                onward = [it for name, it in links.items() if name.startswith("conditioning")] or list(links.values())
            for it in onward:
                if it not in seen:
                    seen.add(it)
                    queue.append(it)
        return found

    def _texts_of(self, node: Node) -> tuple[Slot, ...]:
        """Where a node's own text is written."""
        for group in TEXTS:
            if names := [name for name in group if name in node.inputs]:
                slots = [self._workflow.origin(node, name, str) for name in names]
                return tuple(dict.fromkeys(slot for slot in slots if slot))
        return ()

    def _all(self, nodes: Iterable[Node], names: tuple[str, ...], *kinds: type) -> tuple[Slot, ...]:
        found = [
            self._workflow.origin(node, name, kind)
            for node in nodes
            for name in names
            if name in node.inputs
            for kind in kinds
        ]
        return tuple(dict.fromkeys(slot for slot in found if slot))

    def _size(self, nodes: Iterable[Node], side: str) -> tuple[Slot, ...]:
        sized = [
            node for node in nodes if {"width", "height"} <= node.inputs.keys() and not RESIZED & node.links.keys()
        ]
        return self._all(sized, (side,), int)

    def _images(self, nodes: tuple[Node, ...]) -> tuple[Slot | None, tuple[Slot, ...]]:
        """The place of the source picture, and those of the references in their order."""
        numbers = sorted(int(match[1]) for key in self.named if (match := REFERENCE.fullmatch(key)))
        references = [slot for number in numbers for slot in self._given(f"reference_{number}", nodes)]
        sources = list(self._given("source", nodes))
        taken = {slot.node for slot in [*references, *sources]}
        loaders = sorted(
            (node for node in nodes if node.class_type == "LoadImage" and "image" in node.values(str)),
            key=lambda node: (node.title, len(node.id), node.id),
        )
        left = [node for node in loaders if node.id not in taken]
        if "source" not in self.named:
            plain = [node for node in left if "reference" not in node.title.lower()]
            titled = [node for node in plain if "source" in node.title.lower()]
            sources = [Slot(node.id, "image") for node in (titled or plain)[:1]]
        if not numbers:
            references = [Slot(node.id, "image") for node in left if Slot(node.id, "image") not in sources]
        source = sources[0] if sources and self._edit is not False else None
        return source, tuple(references)

    def _slots(self, field: str, value: str) -> tuple[Slot, ...]:
        """The inputs that a setting names."""
        groups = OBVIOUS.get("reference" if REFERENCE.fullmatch(field) else field)
        if groups is None:
            known = [name for name in OBVIOUS if name != "reference"]
            known += ["reference_1", "reference_2", "...", "output", "edit_output"]
            raise GemsConfigError(f"drawing.nodes: unknown name {field!r}; there are: {', '.join(known)}")
        title, dot, name = value.rpartition(".")
        if dot and not self._workflow.find(value):
            node = self._node(field, title)
            if name not in node.inputs:
                raise GemsConfigError(
                    f"drawing.nodes: {field} = {value!r}: node {node.label} has no input {name!r}; "
                    f"there are: {', '.join(node.inputs)}"
                )
            return (Slot(node.id, name),)
        node = self._node(field, value)
        for group in groups:
            if names := [name for name in group if name in node.inputs]:
                return tuple(Slot(node.id, name) for name in names)
        raise GemsConfigError(
            f"drawing.nodes: {field} = {value!r}: say which input, as {node.id}.INPUT; there are: {', '.join(node.inputs)}"
        )

    def _node(self, field: str, name: str) -> Node:
        found = self._workflow.find(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise GemsConfigError(
                f"drawing.nodes: {field}: {len(found)} nodes are called {name!r}; "
                f"use an id: {', '.join(node.id for node in found)}"
            )
        raise GemsConfigError(
            f"drawing.nodes: {field}: {self._workflow.name} has no node {name!r}; there are: {self._workflow.labels()}"
        )


def _all_slots(branch: Branch) -> set[Slot]:
    slots = {slot for places in branch.slots.values() for slot in places} | set(branch.references)
    return slots | {branch.source} if branch.source else slots
