"""A server that speaks ComfyUI's protocol, HTTP and websocket on one port, and draws flat colours.

It lives in the event loop that enters it. Messages come in the order of ComfyUI's own, the cache and its effects included.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qs

from PIL import Image

from gems.evals.loopback.comfyui_nodes import (
    NODE_TYPES,
    Findings,
    Json,
    Made,
    Prompt,
    is_link,
    make,
    order,
    validate,
)
from gems.evals.loopback.comfyui_socket import Socket, send_reply
from gems.evals.loopback.wire import Reply, Request, as_json, html_page

ComfyFault = Literal[
    "busy",
    "no upload",
    "late",
    "stray",
    "states only",
    "execution error",
    "out of memory",
    "dropped",
    "no websocket",
    "no file",
    "no picture",
    "page",
]
"""What can go wrong with a drawing.

The server is busy (503), fails to take an image (500), queues late, sends messages of another drawing, tells progress in
one of its two ways only; a node fails, memory runs out; the websocket is dropped half-way or refused; the picture's file
is gone, the output names no picture, a page comes in its place.
"""

LATE_SECONDS: Final = 0.3
PREVIEW: Final = struct.pack(">II", 1, 1) + b"\xff\xd8\xff"
"""The beginning of a binary preview message: a JPEG."""


class Interrupted(Exception):
    """Someone stopped the drawing that ran."""


class NodeFailure(Exception):
    """A node failed, as the plan of faults says; `kind` is the exception's name as ComfyUI gives it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class ComfyJob:
    """A workflow in the queue."""

    number: int
    id: str
    prompt: Prompt
    client_id: str | None
    outputs: list[str]
    fault: ComfyFault | None
    messages: list[tuple[str, Json]] = field(default_factory=list)
    results: dict[str, Json] = field(default_factory=dict)

    @property
    def entry(self) -> list[Any]:
        """How the queue and the history show it."""
        extra = {"client_id": self.client_id} if self.client_id else {}
        return [self.number, self.id, self.prompt, extra, self.outputs]


class LoopbackComfyUI:
    """A ComfyUI on 127.0.0.1, at a port of the system's choosing, for as long as it is entered."""

    def __init__(
        self, *, step_seconds: float = 0.0, faults: Mapping[int, ComfyFault] | None = None, old: bool = False
    ) -> None:
        """Set what it is like.

        Args:
            step_seconds: What a sampler's step takes.
            faults: What goes wrong, by the number of the workflow received (from 0).
            old: Behave as a server of 2024: it chooses the ids, interrupts whatever runs, and knows no `progress_state`.
        """
        self.step_seconds = step_seconds
        self.faults = dict(faults or {})
        self.old = old
        self.requests: list[Request] = []
        self.files: dict[tuple[str, str], bytes] = {}
        """Content by folder (`input`, `output`, `temp`) and name."""
        self.history: dict[str, Json] = {}
        self.pending: list[ComfyJob] = []
        self.running: ComfyJob | None = None
        self.freed = 0
        """How often it was asked to unload its models."""
        self.failures: list[Exception] = []
        """What went wrong for a reason that is this server's own."""
        self._received = 0
        self._cache: dict[str, Json | None] = {}
        self._interrupt = False
        self._work = asyncio.Event()
        self._sockets: dict[str, Socket] = {}
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._worker = asyncio.create_task(self._run_jobs())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; connections that are open are dropped.

        Raises:
            RuntimeError: a drawing failed for a reason that is this server's own.
        """
        self._server.close()
        self._worker.cancel()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(self._worker, *self._connections, return_exceptions=True)
        if self.failures and error is None:
            raise RuntimeError(f"the loopback's ComfyUI failed: {self.failures[0]!r}") from self.failures[0]

    def asked(self, method: str, path: str) -> int:
        """How often something was asked for."""
        return sum(request.method == method and request.path == path for request in self.requests)

    def drop_sockets(self) -> None:
        """Break all websockets, as a network does: without a word."""
        for socket in self._sockets.values():
            socket.abort()
        self._sockets.clear()

    # The network

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a connection is served by a task
        self._connections[task] = writer
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, _, rest = head.partition(b"\r\n")
                method, target, _ = line.decode().split(" ")
                headers = {name.lower(): value for name, value in BytesParser(policy=HTTP).parsebytes(rest).items()}
                if headers.get("upgrade", "").lower() == "websocket":
                    await self._serve_socket(head, target, reader, writer)
                    return
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, target, headers, body)
                self.requests.append(request)
                fault = self.faults.get(self._received)
                if fault == "late" and request.path == "/prompt":
                    await asyncio.sleep(LATE_SECONDS)
                await send_reply(writer, self._answer(request), with_body=method != "HEAD")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            del self._connections[task]

    async def _serve_socket(
        self, head: bytes, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client_id = parse_qs(target.partition("?")[2]).get("clientId", [uuid.uuid4().hex])[0]
        socket = Socket(writer)
        accepted = self.faults.get(self._received) != "no websocket"
        if not socket.shake_hands(head, accepted=accepted):
            return
        self._sockets[client_id] = socket
        self._send("status", {"status": self._queue_state(), "sid": client_id}, client_id)
        try:
            while content := await reader.read(65536):
                if socket.take(content):
                    break
        finally:
            if self._sockets.get(client_id) is socket:
                del self._sockets[client_id]

    def _send(self, kind: str, content: Json, client_id: str | None) -> None:
        """A message to one client, or to all."""
        message = json.dumps({"type": kind, "data": content}).encode()
        targets = list(self._sockets) if client_id is None else [client_id]
        for target in targets:
            if target in self._sockets:
                self._sockets[target].send(message)

    def _answer(self, request: Request) -> Reply:
        path = request.path.removeprefix("/api")
        match request.method, path.strip("/").split("/"):
            case "POST", ["prompt"]:
                return self._take(json.loads(request.body))
            case "GET", ["prompt"]:
                return as_json(self._queue_state())
            case "GET", ["queue"]:
                running = [self.running.entry] if self.running else []
                return as_json({"queue_running": running, "queue_pending": [job.entry for job in self.pending]})
            case "POST", ["queue"]:
                return self._change_queue(json.loads(request.body))
            case "GET", ["history"]:
                return as_json(self.history)
            case "GET", ["history", job]:
                return as_json({job: self.history[job]} if job in self.history else {})
            case "POST", ["interrupt"]:
                wanted = json.loads(request.body or b"{}").get("prompt_id")
                if self.running and (self.old or wanted in (None, self.running.id)):
                    self._interrupt = True
                return Reply(200)
            case "POST", ["free"]:
                self.freed += bool(json.loads(request.body).get("unload_models"))
                return Reply(200)
            case "POST", ["upload", "image"]:
                if self.faults.get(self._received) == "no upload":
                    return Reply(500, b"disk full", "text/plain")
                return self._store(request)
            case "GET" | "HEAD", ["view"]:
                return self._view(request)
            case "GET", ["system_stats"]:
                device = {"name": "loopback", "type": "cpu", "index": None, "vram_total": 0, "vram_free": 0}
                return as_json({"system": {"comfyui_version": "loopback"}, "devices": [device]})
            case "GET", ["object_info", *names]:
                return as_json({name: _describe(name) for name in names or NODE_TYPES if name in NODE_TYPES})
        return Reply(404, b"404: Not Found", "text/plain")

    def _store(self, request: Request) -> Reply:
        head = b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
        parts: dict[str, tuple[str, bytes]] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                parts[str(name)] = part.get_filename() or "", content
        if "image" not in parts or not parts["image"][0]:
            return Reply(400)
        name, content = parts["image"]
        stem, dot, ending = name.rpartition(".")
        number = 0
        if parts.get("overwrite", ("", b""))[1] not in (b"true", b"1"):
            while self.files.get(("input", name), content) != content:
                number += 1
                name = f"{stem} ({number}){dot}{ending}"
        self.files["input", name] = content
        return as_json({"name": name, "subfolder": "", "type": "input"})

    def _view(self, request: Request) -> Reply:
        query = {name: values[0] for name, values in request.query.items()}
        content = self.files.get((query.get("type", "output"), query.get("filename", "")))
        if content == b"page":
            return html_page()
        return Reply(404) if content is None else Reply(200, content, "image/png")

    # The queue

    def _take(self, body: Json) -> Reply:
        fault = self.faults.get(self._received)
        self._received += 1
        if fault == "busy":
            return Reply(503, b"busy", "text/plain", {"Retry-After": "0"})
        found = validate(body["prompt"], self._uploaded) if "prompt" in body else Findings(error={"type": "no_prompt"})
        if found.error:
            return as_json({"error": found.error, "node_errors": found.node_errors}, 400)
        job_id = str(uuid.uuid4()) if self.old else body.get("prompt_id") or str(uuid.uuid4())
        job = ComfyJob(self._received, job_id, body["prompt"], body.get("client_id"), found.good, fault)
        self.pending.append(job)
        self._queue_changed()
        self._work.set()
        return as_json({"prompt_id": job.id, "number": job.number, "node_errors": found.node_errors})

    def _change_queue(self, body: Json) -> Reply:
        gone = [job.id for job in self.pending] if body.get("clear") else body.get("delete", [])
        self.pending = [job for job in self.pending if job.id not in gone]
        self._queue_changed()
        return Reply(200)

    def _queue_state(self) -> Json:
        return {"exec_info": {"queue_remaining": len(self.pending) + (self.running is not None)}}

    def _queue_changed(self) -> None:
        self._send("status", {"status": self._queue_state()}, None)

    def _uploaded(self, name: str) -> bytes | None:
        return self.files.get(("input", name))

    # The worker

    async def _run_jobs(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self.pending:
                self.running = job = self.pending.pop(0)
                self._interrupt = False
                self._queue_changed()
                ended = await self._run(job)
                self.history[job.id] = {
                    "prompt": job.entry,
                    "outputs": job.results,
                    "status": {
                        "status_str": "success" if ended else "error", "completed": ended, "messages": job.messages
                    },
                }  # fmt: skip
                self.running = None
                self._queue_changed()
                self._send("executing", {"node": None, "prompt_id": job.id}, job.client_id)

    async def _run(self, job: ComfyJob) -> bool:
        """Execute a job; whether it went well."""
        if job.fault == "stray":
            other = {"prompt_id": str(uuid.uuid4())}
            self._send("progress", {"value": 99, "max": 100, "node": "3", **other}, job.client_id)
            self._send("execution_success", other, job.client_id)
            self._send("executing", {"node": None}, job.client_id)
        self._report(job, "execution_start", {})
        nodes = list(dict.fromkeys(node for output in job.outputs for node in order(job.prompt, output)))
        made = self._make(job.prompt, nodes)
        cached = [node for node in nodes if made[node].digest in self._cache]
        self._report(job, "execution_cached", {"nodes": cached})
        node = ""
        try:
            for node in nodes:
                await self._run_node(job, node, made)
        except Interrupted:
            details = {"node_id": node, "node_type": job.prompt[node]["class_type"], "executed": []}
            self._report(job, "execution_interrupted", details)
            return False
        except Exception as error:
            if not isinstance(error, NodeFailure):
                self.failures.append(error)
            details = {
                "node_id": node,
                "node_type": job.prompt[node]["class_type"],
                "executed": [],
                "exception_message": f"{error}\n",
                "exception_type": error.kind if isinstance(error, NodeFailure) else type(error).__name__,
                "traceback": [],
                "current_inputs": {},
                "current_outputs": [],
            }
            self._report(job, "execution_error", details)
            return False
        self._report(job, "execution_success", {})
        # The history is written a moment after clients have heard of the success.
        await asyncio.sleep(0.02)
        return True

    async def _run_node(self, job: ComfyJob, node: str, made: Mapping[str, Made]) -> None:
        kind, it = NODE_TYPES[job.prompt[node]["class_type"]], made[node]
        if it.digest in self._cache:
            if shown := self._cache[it.digest]:
                self._show(job, node, shown)
            return
        self._tell(job, "executing", {"node": node, "display_node": node})
        for step in range(1, it.steps + 1 if kind.steps else 1):
            await self._step(job, node, step, it.steps)
        for tile in range(1, kind.tiles + 1):
            self._tell(job, "progress", {"value": tile, "max": kind.tiles, "node": node})
        shown = self._save(job, it, kind.saves) if kind.saves else None
        if shown:
            self._show(job, node, shown)
        self._cache[it.digest] = shown
        await asyncio.sleep(0)

    async def _step(self, job: ComfyJob, node: str, step: int, steps: int) -> None:
        await asyncio.sleep(self.step_seconds)
        if self._interrupt:
            raise Interrupted
        if step == steps // 2 + 1:
            if job.fault == "execution error":
                raise NodeFailure("RuntimeError", "mat1 and mat2 shapes cannot be multiplied")
            if job.fault == "out of memory":
                raise NodeFailure("torch.OutOfMemoryError", "Allocation on device")
            if job.fault == "dropped":
                self.drop_sockets()
        if not self.old:
            state = {"value": step, "max": steps, "state": "running", "node_id": node, "prompt_id": job.id}
            self._tell(job, "progress_state", {"nodes": {node: state}})
        if job.fault != "states only":
            self._tell(job, "progress", {"value": step, "max": steps, "node": node})
        if job.client_id in self._sockets:
            self._sockets[job.client_id].send(PREVIEW, binary=True)

    def _make(self, prompt: Prompt, nodes: list[str]) -> dict[str, Made]:
        made: dict[str, Made] = {}
        for node in nodes:
            links = {name: value[0] for name, value in prompt[node]["inputs"].items() if is_link(value)}
            made[node] = make(prompt[node], {name: made[link] for name, link in links.items()}, self._uploaded)
        return made

    def _save(self, job: ComfyJob, made: Made, folder: str) -> Json:
        if job.fault == "no picture":
            return {"images": []}
        name = f"ComfyUI_{len(self.files):05}_.png"
        if job.fault != "no file":
            self.files[folder, name] = b"page" if job.fault == "page" else paint(made)
        return {"images": [{"filename": name, "subfolder": "", "type": folder}]}

    def _show(self, job: ComfyJob, node: str, shown: Json) -> None:
        job.results[node] = shown
        self._tell(job, "executed", {"node": node, "display_node": node, "output": shown})

    def _report(self, job: ComfyJob, kind: str, details: Json) -> None:
        """A message that the history keeps too."""
        content = {"prompt_id": job.id, **details, "timestamp": int(time.time() * 1000)}
        job.messages.append((kind, content))
        if not (self.old and kind == "execution_success"):
            self._send(kind, content, job.client_id or "")

    def _tell(self, job: ComfyJob, kind: str, details: Json) -> None:
        self._send(kind, {**details, "prompt_id": job.id}, job.client_id or "")


def paint(made: Made) -> bytes:
    """A PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (made.width, made.height), tuple(made.colour.to_bytes(3))).save(buffer, "PNG")
    return buffer.getvalue()


def _describe(name: str) -> Json:
    kind = NODE_TYPES[name]
    required: Json = {key: [list(it.choices) or it.kind, {}] for key, it in kind.inputs.items()}
    return {
        "input": {"required": required},
        "output": list(kind.outputs),
        "name": name,
        "output_node": bool(kind.saves),
    }
