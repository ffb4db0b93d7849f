"""One drawing's way through ComfyUI: uploads, queue, progress, outcome, picture.

The websocket says how far a job is, and when to look; what came of it is read from the history, which also holds when the
websocket is lost. Message and field names: ComfyUI's own `server.py`, `execution.py` and `main.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from gems.backends.images.comfyui.server import ComfyServer
from gems.backends.images.picture import check_picture
from gems.core.errors import GemsConfigError, ModelOutage

Json: TypeAlias = dict[str, Any]
Track: TypeAlias = Callable[[str, int, int], None]
"""Called with a node's id, its steps done and its steps in all."""


class Pace(NamedTuple):
    """How often a job is looked at, and for how long; in seconds."""

    silence: float = 5.0
    """After so long without a message the job is looked up: that it was taken out of the queue, no message says."""
    poll: float = 1.0
    """Between two looks at the history when there is no websocket."""
    settle: float = 0.05
    """Between two looks when the job is said to be over: its history is written a moment later."""
    lost: float = 15.0
    """A server that cannot be reached for so long has lost its queue: ComfyUI keeps it in memory."""
    withdraw: float = 2.0
    """Most that cancelling may take."""
    memory: float = 2.0
    """ComfyUI unloads its models when memory runs out: so long after that, the same drawing may fit."""


_unfinished: set[asyncio.Task[None]] = set()
"""A task that nobody refers to may be collected before it is done."""


@asynccontextmanager
async def open_job(server: ComfyServer, pace: Pace) -> AsyncIterator[Job]:
    """One drawing. Left early, it is taken back."""
    job = Job(server, pace)
    try:
        yield job
    finally:
        await job.withdraw()


class Job:
    """One drawing. Its steps are called in order, each once: uploads, `connected`, `queue`, `outcome`, `picture`."""

    def __init__(self, server: ComfyServer, pace: Pace) -> None:
        """Give the job the ids by which the server's messages and queue know it."""
        self._server = server
        self._pace = pace
        self._client_id = str(uuid.uuid4())
        # Newer servers take the id that the client chose, older ones answer with their own.
        self._id = str(uuid.uuid4())
        self._socket: ClientConnection | None = None
        self._queueing: asyncio.Task[httpx.Response] | None = None
        self._over = False
        self._titles: Mapping[str, str] = {}

    async def upload(self, png: bytes) -> str:
        """Bring an image to the server, unless it is there; answer what a Load Image node calls it."""
        name = f"gems-{hashlib.sha256(png).hexdigest()[:32]}.png"
        files, options = {"image": (name, png, "image/png")}, {"overwrite": "true"}
        try:
            if (await self._server.send("HEAD", "/view", params={"filename": name, "type": "input"})).is_success:
                return name
            reply = await self._server.ask("POST", "/upload/image", files=files, data=options)
        except ModelOutage as error:
            # Nothing was drawn yet.
            raise ModelOutage(str(error), again="free", wait=error.wait) from error
        stored = _object(reply)
        if not isinstance(stored.get("name"), str):
            raise ModelOutage(f"ComfyUI took an image, but did not say its name: {self._server.clean(reply.text)}")
        return f"{stored['subfolder']}/{stored['name']}" if stored.get("subfolder") else str(stored["name"])

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Hear the messages to this job, from before it is queued. Without them it is looked up from time to time."""
        try:
            socket = await self._server.listen(self._client_id)
        except (InvalidHandshake, InvalidMessage, TimeoutError, EOFError):
            # A proxy that lets no websocket through.
            yield
            return
        except OSError as error:
            said = type(error).__name__
            raise ModelOutage(f"no ComfyUI can be reached at {self._server.place}: {said}", again="free") from error
        self._socket = socket
        try:
            yield
        finally:
            await socket.close()

    async def queue(self, prompt: Mapping[str, Json], output: str) -> None:
        """Send the filled workflow, once.

        Raises:
            ModelOutage: the server did not answer.
            GemsConfigError: it found a fault in the workflow.
        """
        self._titles = {node: it["_meta"]["title"] for node, it in prompt.items()}
        body = {"prompt": prompt, "client_id": self._client_id, "prompt_id": self._id}
        # Cancelled in the middle, the request is still let finish: what it queued has to be found and taken back.
        self._queueing = asyncio.create_task(self._server.send("POST", "/prompt", json=body))
        reply = await asyncio.shield(self._queueing)
        answer = _object(reply)
        if reply.status_code == 400 and "error" in answer:
            self._over = True
            raise self._explained(answer)
        self._server.expect_success(reply)
        if not isinstance(answer.get("prompt_id"), str):
            raise ModelOutage(f"{self._server.place} does not answer as ComfyUI does", again="paid")
        self._id = answer["prompt_id"]
        faults = answer.get("node_errors") or {}
        if any(output in fault.get("dependent_outputs", ()) for fault in faults.values()):
            raise self._explained(answer)

    async def outcome(self, track: Track) -> Json:
        """Wait until the job is over; answer its outputs by node.

        Raises:
            ModelOutage: it failed, was interrupted or got lost.
        """
        entry = None
        while entry is None:
            heard = await self._heard(track)
            entry = await self._history()
            if entry is None and not await self._is_queued():
                # It may have ended between the two looks.
                entry = await self._history()
                if entry is None:
                    raise ModelOutage("ComfyUI no longer knows the drawing: its queue was cleared", again="paid")
            if entry is None and heard != "silent":
                await asyncio.sleep(self._pace.settle if heard == "over" else self._pace.poll)
        self._over = True
        self._raise_failure((entry.get("status") or {}).get("messages") or ())
        return entry.get("outputs") or {}

    async def picture(self, outputs: Json, node: str) -> bytes:
        """The bytes of a node's first picture.

        Raises:
            ModelOutage: there is none.
        """
        images = (outputs.get(node) or {}).get("images") or ()
        if not images:
            raise ModelOutage(f"ComfyUI drew, but node {self._title(node)} gave no picture: is it a Save Image node?")
        place = {key: images[0].get(key, "") for key in ("filename", "subfolder", "type")}
        reply = await self._patiently("/view", params=place)
        if reply.status_code == 404:
            raise ModelOutage(
                f"ComfyUI drew, but no longer has the picture {place['filename']!r}: if its file was deleted, "
                "restart ComfyUI, which otherwise answers the same drawing from its cache"
            )
        self._server.expect_success(reply)
        return check_picture(reply.content, "ComfyUI")

    async def withdraw(self) -> None:
        """Take the job out of the queue, or interrupt it, if it is not over. Never raises, and is quick."""
        if self._over or self._queueing is None:
            return
        withdrawing = asyncio.create_task(self._withdraw(self._queueing))
        _unfinished.add(withdrawing)
        withdrawing.add_done_callback(_unfinished.discard)
        # A second cancellation ends the wait, and not what is waited for.
        await asyncio.wait({withdrawing})

    async def _withdraw(self, queueing: asyncio.Task[httpx.Response]) -> None:
        try:
            async with asyncio.timeout(self._pace.withdraw):
                await asyncio.gather(queueing, return_exceptions=True)
                for _ in range(3):  # it may start to run between the look and the deletion
                    queue = _object(await self._server.ask("GET", "/queue"))
                    if running := self._own(queue.get("queue_running")):
                        # Older servers interrupt whatever runs: this is why we looked.
                        await self._server.ask("POST", "/interrupt", json={"prompt_id": running[0]})
                        return
                    if not (pending := self._own(queue.get("queue_pending"))):
                        return
                    await self._server.ask("POST", "/queue", json={"delete": pending})
        except (TimeoutError, ModelOutage, GemsConfigError):
            return
        finally:
            queueing.cancel()

    def _own(self, entries: object) -> list[str]:
        """Ids of this job in a part of the queue: entries are [number, id, prompt, {client_id}, outputs]."""
        if not isinstance(entries, list):
            return []
        return [
            str(entry[1])
            for entry in entries
            if entry[1] == self._id or (len(entry) > 3 and (entry[3] or {}).get("client_id") == self._client_id)
        ]

    async def _heard(self, track: Track) -> Literal["over", "silent", "lost"]:
        """Follow the messages until one says that the job is over, or there are none."""
        if self._socket is None:
            return "lost"
        try:
            while True:
                async with asyncio.timeout(self._pace.silence):
                    message = await self._socket.recv()
                if isinstance(message, str) and self._follow(message, track):
                    return "over"
        except TimeoutError:
            return "silent"
        except ConnectionClosed:
            self._socket = None
            return "lost"

    def _follow(self, message: str, track: Track) -> bool:
        """Whether a message says that the job is over."""
        try:
            event = json.loads(message)
            kind, fields = event["type"], event["data"]
        except (ValueError, TypeError, KeyError):
            return False
        if not isinstance(fields, dict) or fields.get("prompt_id") != self._id:
            return False
        if kind == "progress":
            track(str(fields.get("node")), int(fields.get("value", 0)), int(fields.get("max", 0)))
        elif kind == "progress_state":
            for node, state in (fields.get("nodes") or {}).items():
                # Every node has such a state: only those that count steps go beyond one.
                if state.get("max", 0) > 1:
                    track(str(node), int(state.get("value", 0)), int(state["max"]))
        return kind in ("execution_success", "execution_error", "execution_interrupted") or (
            kind == "executing" and fields.get("node") is None
        )

    async def _history(self) -> Json | None:
        entry = _object(await self._patiently(f"/history/{self._id}")).get(self._id)
        return entry if isinstance(entry, dict) else None

    async def _is_queued(self) -> bool:
        queue = _object(await self._patiently("/queue"))
        return any(self._own(queue.get(part)) for part in ("queue_running", "queue_pending"))

    async def _patiently(self, path: str, **options: Any) -> httpx.Response:
        """The reply to a GET, also after a short breakdown: the drawing must not be lost by it."""
        since = time.monotonic()
        while True:
            try:
                reply = await self._server.send("GET", path, **options)
                if reply.status_code < 500 and reply.status_code != 429:
                    return reply
                self._server.expect_success(reply)
            except ModelOutage as error:
                if time.monotonic() - since > self._pace.lost:
                    raise ModelOutage(f"ComfyUI was lost while it drew: {error}", again="paid") from error
            await asyncio.sleep(self._pace.poll)

    def _raise_failure(self, messages: Any) -> None:
        for kind, fields in messages:
            if kind == "execution_interrupted":
                raise ModelOutage("the drawing was interrupted in ComfyUI", again="paid")
            if kind == "execution_error":
                what = self._server.clean(f"{fields.get('exception_type')}: {fields.get('exception_message')}")
                message = f"ComfyUI failed at node {self._title(fields.get('node_id'))}: {what}"
                if "outofmemory" in what.lower().replace(" ", ""):
                    raise ModelOutage(message, again="free", wait=self._pace.memory)
                raise ModelOutage(message)

    def _explained(self, answer: Json) -> GemsConfigError:
        """What ComfyUI says of a workflow that it refuses."""
        said = []
        for node, fault in (answer.get("node_errors") or {}).items():
            reasons = [_reason(error) for error in fault.get("errors", ())]
            said.append(f"node {self._title(node)}: {', '.join(reasons)}")
        if not said and isinstance(answer.get("error"), dict):
            said = [_reason(answer["error"])]
        return GemsConfigError(f"ComfyUI refused the workflow: {self._server.clean('; '.join(said))}")

    def _title(self, node: object) -> str:
        return f"{self._titles[node]!r} ({node})" if isinstance(node, str) and node in self._titles else repr(node)


def _reason(error: Json) -> str:
    return ": ".join(part for part in (error.get("message", ""), error.get("details", "")) if part)


def _object(reply: httpx.Response) -> Json:
    """A reply's JSON object; empty when it is something else, such as a proxy's page."""
    try:
        content = reply.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
