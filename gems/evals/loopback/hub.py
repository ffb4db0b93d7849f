"""A hub in the manner of huggingface.co: listings, files that are sent from elsewhere, refusals, and broken downloads.

As huggingface_hub 1.32 and 2.4 see it: errors carry `X-Error-Code`; the name of a blob is git's SHA-1, or the SHA-256 of a
file in large-file storage, which is sent by another host that must not see the token.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from gems.evals.loopback.faults import TRANSPORT, Plan, broken, clean
from gems.evals.loopback.log import Entry
from gems.evals.loopback.wire import Reply, Request, as_json

HUB_FAULTS: Final = (*TRANSPORT, "no_range", "wrong_bytes")
"""Of the replies with a file's bytes. `no_range` sends all of them, whatever was asked for."""
LARGE: Final = (".safetensors", ".gguf", ".bin", ".ckpt", ".onnx", ".msgpack")
"""Endings of what is in large-file storage."""
_API: Final = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<revision>[^/]+))?")
_FILE: Final = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
_CDN: Final = "/cdn/"
_RANGE: Final = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository with one commit, to which all its branches and tags point."""

    id: str
    files: Mapping[str, bytes]
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    revisions: tuple[str, ...] = ("main",)

    @classmethod
    def of_folder(cls, id: str, folder: Path, **options: Any) -> HubModel:  # noqa: A002
        """The files of a folder."""
        paths = sorted(it for it in folder.rglob("*") if it.is_file())
        return cls(id, {it.relative_to(folder).as_posix(): it.read_bytes() for it in paths}, **options)

    @property
    def commit(self) -> str:
        """Changes when a file does."""
        digests = "".join(f"{name}\0{digest(name, content)}\n" for name, content in sorted(self.files.items()))
        return hashlib.sha1(digests.encode(), usedforsecurity=False).hexdigest()


class HubServer:
    """Answers for its models; it is asked for its routes by a `Loopback`."""

    def __init__(
        self, *models: HubModel, token: str = "", plan: Plan = clean, least: int = 0, slow: float = 1.0
    ) -> None:
        """Set it up.

        Args:
            models: What it holds.
            token: The one token that it knows, and that may read what is gated.
            plan: The faults of replies with a file's bytes.
            least: Bytes of a file from which on its replies are among those that may fail.
            slow: Seconds before a `slow` reply.
        """
        self.models = {model.id: model for model in models}
        self.plan = plan
        self.least = least
        self.delivered: Counter[str] = Counter()
        """Bytes sent of each blob."""
        self.keys_elsewhere: list[str] = []
        """The tokens that the other host was shown."""
        self._token = token
        self._slow = slow
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        """The reply, or None where the path is not one of the hub's."""
        if request.method not in ("GET", "HEAD"):
            return None
        if request.path.startswith(_CDN):
            self.keys_elsewhere += [request.key] if request.key else []
            blob = request.path.removeprefix(_CDN)
            content = next((it for name, it in self._all_files() if digest(name, it) == blob), None)
            return None if content is None else self._send(blob, content, request, entry, {})
        if match := _API.fullmatch(request.path):
            return self._told(match["id"], match["what"] or "", unquote(match["revision"] or "main"), request)
        if match := _FILE.fullmatch(request.path):
            return self._file(match["id"], unquote(match["revision"]), unquote(match["name"]), request, entry)
        return None

    def _told(self, id: str, what: str, revision: str, request: Request) -> Reply:  # noqa: A002
        model = self._model(id, revision, request)
        if isinstance(model, Reply):
            return model
        if what == "tree":
            return as_json([{"type": "file", "path": name} | _stored(name, it) for name, it in model.files.items()])
        listed = [{"rfilename": name} | _sibling(name, it) for name, it in model.files.items()]
        body = {
            "id": model.id,
            "sha": model.commit,
            "gated": "auto" if model.gated else False,
            "cardData": dict(model.card),
            "tags": [f"license:{model.card['license']}"] if "license" in model.card else [],
            "siblings": listed if "blobs" in request.query else [{"rfilename": name} for name in model.files],
        }
        return as_json(body)

    def _file(self, id: str, revision: str, name: str, request: Request, entry: Entry) -> Reply:  # noqa: A002
        model = self._model(id, revision, request)
        if isinstance(model, Reply):
            return model
        if model.gated and (not self._token or request.key != self._token):
            said = f"Access to model {id} is restricted"
            return _error(403 if request.key else 401, "GatedRepo", said)
        content = model.files.get(name)
        if content is None:
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": model.commit})
        blob = digest(name, content)
        headers = {"X-Repo-Commit": model.commit, "ETag": f'"{blob}"', "Accept-Ranges": "bytes"}
        if not name.endswith(LARGE):
            return self._send(blob, content, request, entry, headers)
        # By its other name the same server is another host.
        port = request.headers["host"].rpartition(":")[2]
        headers |= {
            "X-Linked-ETag": f'"{blob}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"http://localhost:{port}{_CDN}{blob}",
        }
        return Reply(302, b"", "text/plain", headers)

    def _model(self, id: str, revision: str, request: Request) -> HubModel | Reply:  # noqa: A002
        """The model, or the refusal to say anything about it."""
        if request.key and request.key != self._token:
            return _error(401, "", "Invalid credentials in Authorization header")
        model = next((it for it in self.models.values() if it.id.lower() == id.lower()), None)
        if model is None:
            return _error(404 if request.key else 401, "RepoNotFound", "Repository not found")
        if revision not in (model.commit, *model.revisions):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return model

    def _send(self, blob: str, content: bytes, request: Request, entry: Entry, headers: Mapping[str, str]) -> Reply:
        if request.method == "HEAD":
            return Reply(200, content, "application/octet-stream", headers)
        entry.fault = fault = self.plan(next(self._numbers)) if len(content) >= self.least else ""
        if fault == "slow":
            time.sleep(self._slow)
        if fault == "wrong_bytes":
            content = bytes(byte ^ 0xFF for byte in content)
        reply = Reply(200, content, "application/octet-stream", headers)
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked and fault != "no_range":
            start = int(asked[1])
            if start >= len(content):
                return Reply(416, b"", "text/plain", {"Content-Range": f"bytes */{len(content)}"})
            where = f"bytes {start}-{len(content) - 1}/{len(content)}"
            reply = Reply(206, content[start:], "application/octet-stream", {**headers, "Content-Range": where})
        if fault in TRANSPORT and fault != "slow":
            reply = broken(fault, request.key, reply, lambda status, said: _error(status, "", said))
        if reply.status < 300:
            with self._lock:
                self.delivered[blob] += len(reply.body) if reply.hang_up is None else reply.hang_up
        return reply

    def _all_files(self) -> list[tuple[str, bytes]]:
        return [item for model in self.models.values() for item in model.files.items()]


def digest(name: str, content: bytes) -> str:
    """The name of a file's blob."""
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else _git(content)


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _pointer(content: bytes) -> bytes:
    """What git itself holds of a large file."""
    sha256 = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    if not name.endswith(LARGE):
        return {"size": len(content), "blobId": _git(content)}
    pointer = _pointer(content)
    lfs = {"sha256": digest(name, content), "size": len(content), "pointerSize": len(pointer)}
    return {"size": len(content), "blobId": _git(pointer), "lfs": lfs}


def _stored(name: str, content: bytes) -> dict[str, Any]:
    listed = _sibling(name, content)
    stored: dict[str, Any] = {"size": listed["size"], "oid": listed["blobId"]}
    if "lfs" in listed:
        stored["lfs"] = {"oid": listed["lfs"]["sha256"], **listed["lfs"]}
    return stored


def _error(status: int, code: str, said: str, headers: Mapping[str, str] | None = None) -> Reply:
    own = {"X-Error-Code": code} if code else {}
    return as_json({"error": said}, status, {"X-Error-Message": said, **own, **(headers or {})})
