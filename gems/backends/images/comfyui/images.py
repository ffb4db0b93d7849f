"""Image models behind ComfyUI: a workflow of the user's own, filled in for each drawing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gems.backends.images.comfyui.job import Pace, open_job
from gems.backends.images.comfyui.mapping import Branch, find_branches, setting
from gems.backends.images.comfyui.server import ComfyServer
from gems.backends.images.comfyui.workflow import Slot, read_workflow
from gems.core.errors import GemsConfigError
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.profiles import Endpoint

GRAIN: Final = 8
"""Pixels of a picture that a latent's cell stands for, at least."""
OVERRIDES: Final = ("steps", "guidance_scale", "true_cfg_scale", "negative_prompt")
"""Options that replace what the workflow says, when they are set."""
FOREIGN: Final = ("quality", "extra_body")
"""Options that a workflow has no place for."""


class ComfyImages:
    """Draws with a ComfyUI server and a workflow in API format."""

    def __init__(self, endpoint: Endpoint, folder: Path = Path(), pace: Pace = Pace()) -> None:  # noqa: B008  # frozen
        """Read the workflow and find its inputs. The server is not called before the first drawing.

        Args:
            endpoint: `model` is the workflow's file, `base_url` the server's address (default: ComfyUI's on this machine),
                `drawing.nodes` names inputs that cannot be found, and the key, if any, is a proxy's bearer token.
            folder: Where the way to the file begins.
            pace: How often the server is asked.

        Raises:
            GemsConfigError: the file is no workflow in API format, or an input is not to be found.
        """
        if not endpoint.model:
            raise GemsConfigError("comfyui names no workflow: write comfyui:FILE.json")
        self._endpoint = endpoint
        self._pace = pace
        self._workflow = read_workflow(folder / endpoint.model)
        self._branches = find_branches(self._workflow, endpoint.drawing.nodes, endpoint.drawing.edit)
        self._overrides = self._read_overrides()
        self._server = ComfyServer(endpoint)
        drawing = endpoint.drawing
        self.capabilities = Capabilities(
            edit=any(branch.source for branch in self._branches),
            references=max((len(it.references) for it in self._branches if it.source is None), default=0),
            seeds=all(branch.slots["seed"] for branch in self._branches),
            notes=drawing.notes,
        )

    @property
    def name(self) -> str:
        """`comfyui:FILE.json`, without the folders before it: names are kept in checkpoints, paths are not."""
        return f"comfyui:{Path(self._endpoint.model).name}"

    @property
    def identity(self) -> Mapping[str, Any]:
        """The workflow without what a drawing fills in, where that goes, what the settings replace, and the server."""
        filled = {slot: None for branch in self._branches for slot in self._filled_slots(branch)}
        nodes = [
            [branch.output.id, {key: {**node, "_meta": None} for key, node in branch.filled(filled).items()}]
            for branch in self._branches
        ]
        mapping = [
            {field: [str(slot) for slot in slots] for field, slots in branch.slots.items()}
            | {"source": str(branch.source), "references": [str(slot) for slot in branch.references]}
            for branch in self._branches
        ]
        canonical = json.dumps(nodes, sort_keys=True, separators=(",", ":"))
        return {
            "model": "comfyui",
            "workflow": hashlib.sha256(canonical.encode()).hexdigest(),
            "mapping": mapping,
            "overrides": self._overrides,
            "server": self._server.place,
        }

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Refuse sizes that latents do not have, and workflows that cannot draw without a picture to start from.

        Raises:
            GemsConfigError: as said.
        """
        del prompt
        if width % GRAIN or height % GRAIN:
            raise GemsConfigError(f"size {width}x{height}: a ComfyUI workflow takes multiples of {GRAIN} pixels")
        branches = [branch for branch in self._branches if branch.source is None]
        if not branches:
            first = self._branches[0]
            loader = next(node for node in first.nodes if first.source and node.id == first.source.node)
            raise GemsConfigError(
                f"{self._workflow.name} starts from the source picture of node {loader.label}, so it cannot draw the "
                "first picture: give the workflow a second Save Image that needs no source, or set drawing.edit = false "
                "to keep the workflow's own picture there"
            )
        warnings = []
        if not all(branch.slots["width"] and branch.slots["height"] for branch in branches):
            warnings.append(
                f"{self._workflow.name} has no clear place for width and height: its pictures have the size it gives them "
                f"({setting('width', branches[0].output)})"
            )
        if fewest := min(len(branch.references) for branch in branches):
            warnings.append(f"{self._workflow.name} needs {fewest} reference images: it cannot draw without them")
        return warnings

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw one image, by one `POST /prompt`. Cancelling takes it out of the server's queue, or interrupts it.

        Raises:
            ModelOutage: the server did not answer, failed, or was interrupted.
            GemsConfigError: the server refused the workflow, or the request is not one that the workflow can draw.
        """
        branch, started = self._branch(request), time.monotonic()
        async with open_job(self._server, self._pace) as job:
            values = self._values(branch, request)
            if branch.source and request.source:
                values[branch.source] = await job.upload(request.source)
            for slot, image in zip(branch.references, request.references, strict=False):
                values[slot] = await job.upload(image)
            async with job.connected():
                await job.queue(branch.filled(values), branch.output.id)
                outputs = await job.outcome(_Steps(branch.samplers, progress).track)
            content = await job.picture(outputs, branch.output.id)
        cost = self._endpoint.price.image if self._endpoint.price else 0.0
        return Drawing(content, time.monotonic() - started, cost)

    async def release(self) -> None:
        """Have the server unload its models, which it does once it is idle.

        Raises:
            ModelOutage: the server did not answer.
        """
        await self._server.ask("POST", "/free", json={"unload_models": True, "free_memory": True})

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._server.aclose()

    def _branch(self, request: DrawRequest) -> Branch:
        """The branch for a request: with or without a source, and with as many references as it can follow."""
        fitting = [
            branch
            for branch in self._branches
            if (branch.source is None) == (request.source is None) and len(branch.references) <= len(request.references)
        ]
        if fitting:
            return max(fitting, key=lambda branch: len(branch.references))
        what = "edit a picture" if request.source else "draw from nothing"
        raise GemsConfigError(
            f"{self._workflow.name} cannot {what} with {len(request.references)} reference images: "
            "no Save Image node has the Load Image nodes for just that"
        )

    def _values(self, branch: Branch, request: DrawRequest) -> dict[Slot, Any]:
        values = self._overrides | {
            "prompt": request.prompt,
            "seed": request.seed,
            "width": request.width,
            "height": request.height,
        }
        return {slot: value for field, value in values.items() for slot in branch.slots[field]}

    def _filled_slots(self, branch: Branch) -> list[Slot]:
        fields = ("prompt", "seed", "width", "height", *self._overrides)
        slots = [slot for field in fields for slot in branch.slots[field]]
        return [*slots, *branch.references, *([branch.source] if branch.source else [])]

    def _read_overrides(self) -> dict[str, Any]:
        drawing = self._endpoint.drawing
        for option in FOREIGN:
            if getattr(drawing, option):
                raise GemsConfigError(
                    f"drawing.{option} means nothing to ComfyUI: set what it should do in the workflow"
                )
        found = {option: value for option in OVERRIDES if (value := getattr(drawing, option)) is not None}
        for option in found:
            for branch in self._branches:
                if not branch.slots[option]:
                    raise GemsConfigError(
                        f"drawing.{option} is set, but {self._workflow.name} has no clear place for it; "
                        f"{setting(option, branch.output)}"
                    )
        return found


class _Steps:
    """Turns the progress of a drawing's samplers into one count that only grows."""

    def __init__(self, samplers: frozenset[str], progress: Progress | None) -> None:
        self._samplers = samplers
        self._progress = progress
        self._seen: dict[str, tuple[int, int]] = {}
        self._told = 0

    def track(self, node: str, done: int, most: int) -> None:
        """Take one node's progress."""
        if self._progress is None or node not in self._samplers or most < 1:
            return
        self._seen[node] = max(self._seen.get(node, (0, 0))[0], min(done, most)), most
        total = sum(steps for steps, _ in self._seen.values())
        if total > self._told:
            self._told = total
            self._progress(total, sum(most for _, most in self._seen.values()))
