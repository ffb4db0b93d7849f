"""The file that a thread travels in: a zip whose every member is named, measured and digested in its manifest.

    manifest.json             format, version, ids, counts, and the SHA-256 of every other member
    checkpoints/000001.msgpack ...   the oldest first, with pending writes
    journal.jsonl             a call a line: rendered messages, raw replies, thoughts, usage
    ledger.json               drawings by their keys, and spending
    run.json                  the line of the runs index, or null
    parameters.json           what the run was made with, for people
    images/<SHA-256>.png

A reader trusts nothing of it: it may be cut off, damaged, or made to do harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Final, Literal, NamedTuple, Self, TypeVar

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt, Send
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gems import __version__
from gems.core.errors import GemsConfigError
from gems.core.state import SCHEMA

FORMAT: Final = "gems-thread"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
JOURNAL: Final = "journal.jsonl"
LEDGER: Final = "ledger.json"
RUN: Final = "run.json"
PARAMETERS: Final = "parameters.json"
MOST_MEMBER: Final = 256 * 2**20
"""Bytes of one member, unpacked."""
MOST_TOTAL: Final = 4 * 2**30
"""Bytes of all compressed members together, unpacked. Images are not compressed: they are as large as they seem."""
_SINGLE: Final = (JOURNAL, LEDGER, RUN, PARAMETERS)
_CHECKPOINT: Final = re.compile(r"checkpoints/[0-9]{6}\.msgpack")
_IMAGE: Final = re.compile(r"images/([0-9a-f]{64})\.png")
_UTF8: Final = 0x800
"""The one flag of a member that our own files may have."""
_CHUNK: Final = 2**20
_PLAIN: Final = (bool, int, float, str, bytes, type(None))
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,  # also NotImplementedError: what zipfile says of methods and flags it does not know
    ValueError,  # also of JSON and UTF-8
    OverflowError,
    KeyError,
    IndexError,
)

Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Amount = Annotated[float, Field(allow_inf_nan=False)]
M = TypeVar("M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Manifest(_Strict):
    """What an archive holds."""

    format: Literal["gems-thread"]
    version: int
    gems: str
    """The version of GEMS that wrote it."""
    thread_id: str = Field(min_length=1, max_length=255)
    trajectories: list[Hex32]
    state_version: int
    whole: bool
    """Whether all checkpoints are there, not only the latest."""
    counts: dict[str, int]
    missing: list[Hex64]
    """Images that the thread names and its machine had lost."""
    members: dict[str, Hex64]


class LedgerPart(_Strict):
    """What the ledger knows of one trajectory."""

    drawings: dict[Hex64, Hex64]
    spent: dict[str, int | Amount]
    """By the fields of `gems.core.spending.Spend`."""


class RunLine(_Strict):
    """As `gems.core.ports.RunRecord`."""

    thread_id: str
    trajectory_id: str
    prompt: str
    profile: str
    status: Literal["running", "done", "stopped", "failed"]
    stop_reason: str | None
    score: Amount | None
    rounds: int
    best: Hex64 | None
    started: Amount
    updated: Amount


class JournalCall(BaseModel):
    """One line of the journal; what later versions add to it is kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    trajectory_id: Hex32
    key: Hex64
    role: str
    task: str
    prompt: str
    instructions: str
    fields: dict[str, Any]
    images: list[dict[str, Any]]
    reply: dict[str, Any] | None
    usage: dict[str, int | Amount]
    thoughts: str
    problem: str
    tokens: list[Any]


class _Ledger(_Strict):
    trajectories: dict[Hex32, LedgerPart]


class _Run(_Strict):
    run: RunLine | None


class Saved(NamedTuple):
    """A checkpoint, as a saver gives and takes it."""

    id: str
    parent: str | None
    namespace: str
    checkpoint: dict[str, Any]
    metadata: dict[str, Any]
    writes: list[tuple[str, str, Any]]
    """Pending writes: task, channel, value."""


class Facts(NamedTuple):
    """What a manifest says that its writer cannot see in the members."""

    thread_id: str
    trajectories: Sequence[str]
    state_version: int
    is_whole: bool
    missing: Sequence[str]


def strict_serializer() -> JsonPlusSerializer:
    """LangGraph's serializer as a foreign file needs it: it makes no objects but those that are known to be harmless."""
    return JsonPlusSerializer(allowed_msgpack_modules=None)


class ArchiveWriter:
    """Writes an archive beside its place, and puts it there when it is whole. Methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._digests: dict[str, str] = {}
        self._calls = 0
        self._drawings = 0
        self._serializer = strict_serializer()

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            GemsConfigError: the place cannot be written.
        """
        with self._explained():
            self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_DEFLATED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing half-written."""
        self._zip.close()
        self._part.unlink(missing_ok=True)

    def add_checkpoint(self, saved: Saved) -> bytes:
        """Add a checkpoint, the oldest first; answers what was written."""
        number = sum(map(bool, map(_CHECKPOINT.fullmatch, self._digests))) + 1
        content: bytes = self._serializer.dumps_typed(saved._asdict())[1]
        self._add(f"checkpoints/{number:06}.msgpack", content)
        return content

    def add_image(self, artifact: str, content: bytes) -> None:
        """Add an image."""
        self._add(f"images/{artifact}.png", content, zipfile.ZIP_STORED)

    def add_journal(self, calls: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
        """Add the calls of each trajectory, in their order; answers what was written."""
        lines = [{"trajectory_id": name, **call} for name, told in calls.items() for call in told]
        self._calls = len(lines)
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        self._add(JOURNAL, content)
        return content

    def add_ledger(self, parts: Mapping[str, LedgerPart]) -> None:
        """Add drawings and spending."""
        self._drawings = sum(len(part.drawings) for part in parts.values())
        self._add(LEDGER, _Ledger(trajectories=dict(parts)).model_dump_json(indent=1).encode())

    def add_run(self, run: RunLine | None) -> None:
        """Add the line of the runs index."""
        self._add(RUN, _Run(run=run).model_dump_json(indent=1).encode())

    def add_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Add what the run was made with."""
        self._add(PARAMETERS, json.dumps(dict(parameters), indent=1).encode())

    def finish(self, facts: Facts) -> Manifest:
        """Put the file in its place.

        Raises:
            GemsConfigError: the place cannot be written.
        """
        names = list(self._digests)
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            gems=__version__,
            thread_id=facts.thread_id,
            trajectories=list(facts.trajectories),
            state_version=facts.state_version,
            whole=facts.is_whole,
            counts={
                "checkpoints": sum(map(bool, map(_CHECKPOINT.fullmatch, names))),
                "calls": self._calls,
                "drawings": self._drawings,
                "images": sum(map(bool, map(_IMAGE.fullmatch, names))),
            },
            missing=list(facts.missing),
            members=dict(self._digests),
        )
        self._add(MANIFEST, manifest.model_dump_json(indent=1).encode())
        with self._explained():
            self._zip.close()
            with self._part.open("rb+") as file:
                os.fsync(file.fileno())
            self._part.replace(self._path)
        return manifest

    def _add(self, name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
        # Without a time of writing, one thread is one file, byte for byte.
        info = zipfile.ZipInfo(name)
        info.compress_type = method
        with self._explained():
            self._zip.writestr(info, content)
        self._digests[name] = hashlib.sha256(content).hexdigest()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise GemsConfigError(
                f"cannot write {self._path}: {error.strerror or error}; name another file, or make room on the disk"
            ) from error


class Archive:
    """An archive that was found to be whole and ours. Methods block: call them in a thread."""

    def __init__(self, path: Path, file: zipfile.ZipFile, manifest: Manifest) -> None:
        """Read `file`, which lies at `path`; `open_archive` checks it first."""
        self._path = path
        self._zip = file
        self._serializer = strict_serializer()
        self.manifest = manifest

    @property
    def images(self) -> list[str]:
        """Artifact ids of its images."""
        return [found[1] for name in sorted(self.manifest.members) if (found := _IMAGE.fullmatch(name))]

    @property
    def size(self) -> int:
        """Bytes of all members, unpacked."""
        return sum(info.file_size for info in self._zip.infolist())

    def image(self, artifact: str) -> bytes:
        """The bytes of an image."""
        return self._read(f"images/{artifact}.png")

    def checkpoints(self, renamed: Mapping[str, str] | None = None) -> Iterator[Saved]:
        """Its checkpoints, the oldest first.

        Args:
            renamed: New ids of trajectories, as long as the old ones.
        """
        for name in sorted(filter(_CHECKPOINT.fullmatch, self.manifest.members)):
            content = self._read(name)
            for old, new in (renamed or {}).items():
                # A text of the same length can be put in the place of another in what is serialised.
                content = content.replace(old.encode(), new.encode())
            yield self._saved(name, content)

    def calls(self) -> dict[str, list[dict[str, Any]]]:
        """The journal: the calls of each trajectory, in their order."""
        calls: dict[str, list[dict[str, Any]]] = {}
        for number, line in enumerate(self._read(JOURNAL).splitlines(), start=1):
            with _blamed(self._path, f"{JOURNAL}, line {number}"):
                JournalCall.model_validate_json(line)
                call: dict[str, Any] = json.loads(line)
            calls.setdefault(call.pop("trajectory_id"), []).append(call)
        return calls

    def ledger(self) -> dict[str, LedgerPart]:
        """Drawings and spending of each trajectory."""
        return self._parsed(LEDGER, _Ledger).trajectories

    def run(self) -> RunLine | None:
        """The line of the runs index."""
        return self._parsed(RUN, _Run).run

    def check(self) -> None:
        """Read everything.

        Raises:
            GemsConfigError: something is damaged, or is none of what GEMS writes.
        """
        for name, digest in self.manifest.members.items():
            if _digest(self._chunks(name)) != digest:
                raise _damaged(self._path, name)
            if (found := _IMAGE.fullmatch(name)) and found[1] != digest:
                raise _foreign(self._path, f"{name} is another image than its name says")
        trajectories = set(self.manifest.trajectories)
        count = 0
        for saved in self.checkpoints():
            count += 1
            values = saved.checkpoint["channel_values"]
            _check_version(values.get("schema", 1))
            if "trajectory_id" in values and values["trajectory_id"] not in trajectories:
                raise _foreign(self._path, f"checkpoint {saved.id} is of a trajectory that the manifest does not name")
        told = self.calls()
        if not count or not trajectories.issuperset(told) or not trajectories.issuperset(self.ledger()):
            raise _foreign(self._path, "its members do not belong together")
        self.run()
        with _blamed(self._path, PARAMETERS):
            json.loads(self._read(PARAMETERS))

    def _saved(self, name: str, content: bytes) -> Saved:
        with _blamed(self._path, name):
            fields = self._serializer.loads_typed(("msgpack", content))
            saved = Saved(**{**fields, "writes": [(task, channel, value) for task, channel, value in fields["writes"]]})
            texts: list[Any] = [saved.id, saved.namespace, "" if saved.parent is None else saved.parent]
            texts += [part for write in saved.writes for part in write[:2]]
            parts = ("channel_values", "channel_versions", "versions_seen")
            maps: list[Any] = [saved.metadata, *(saved.checkpoint[part] for part in parts)]
            if not all(isinstance(it, str) for it in texts) or not all(isinstance(it, dict) for it in maps):
                raise ValueError("it is no checkpoint")
            if saved.checkpoint["id"] != saved.id:
                raise ValueError("it is another checkpoint than it says")
            _check_plain([saved.checkpoint, saved.metadata, *(write[2] for write in saved.writes)])
        return saved

    def _parsed(self, name: str, model: type[M]) -> M:
        with _blamed(self._path, name):
            return model.model_validate_json(self._read(name))

    def _read(self, name: str) -> bytes:
        return b"".join(self._chunks(name))

    def _chunks(self, name: str) -> Iterator[bytes]:
        with _blamed(self._path, name), self._zip.open(name) as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """An archive, checked to the last byte before anything is done with it.

    Raises:
        GemsConfigError: it cannot be read, is no archive of a thread, is damaged, or a newer GEMS wrote it.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise GemsConfigError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        archive = _open(path, file)
        archive.check()
        yield archive


def _open(path: Path, file: BinaryIO) -> Archive:
    try:
        opened = zipfile.ZipFile(file)
        infos = opened.infolist()
    except _UNREADABLE as error:
        raise GemsConfigError(
            f"{path} is no archive of a thread, or only a part of one ({error}): `gems export` writes them; copy it again"
        ) from error
    names = [info.filename for info in infos]
    if MANIFEST not in names:
        raise _foreign(path, f"it has no {MANIFEST}")
    if strange := next((name for name in names if not _is_ours(name)), None):
        raise _foreign(path, f"it has a member {strange[:80]!r}")
    if len(set(names)) < len(names):
        raise _foreign(path, "it has two members of one name")
    for info in infos:
        _check_member(path, info)
    total = sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED)
    if total > MOST_TOTAL:
        raise _foreign(path, f"unpacked it would have {total // 2**20} MiB; the limit is {MOST_TOTAL // 2**20}")
    with _blamed(path, MANIFEST):
        manifest = _read_manifest(path, opened.read(MANIFEST))
    if {*manifest.members, MANIFEST} != set(names) or not set(_SINGLE) <= set(names):
        raise _foreign(path, "its members are not those that its manifest names")
    return Archive(path, opened, manifest)


def _read_manifest(path: Path, content: bytes) -> Manifest:
    told = json.loads(content)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise _foreign(path, f"its {MANIFEST} is not that of a thread")
    version = told.get("version")
    if isinstance(version, int) and version > VERSION:
        raise GemsConfigError(
            f"{path} was written by a newer GEMS (archive version {version}; this one reads up to {VERSION}): upgrade GEMS"
        )
    manifest = Manifest.model_validate_json(content)
    _check_version(manifest.state_version)
    return manifest


def _check_version(version: object) -> None:
    if isinstance(version, int) and version > SCHEMA:
        raise GemsConfigError(
            f"this run was written by a newer GEMS (state version {version}; this one reads up to {SCHEMA}): upgrade GEMS"
        )


def _is_ours(name: str) -> bool:
    return name in (MANIFEST, *_SINGLE) or bool(_CHECKPOINT.fullmatch(name) or _IMAGE.fullmatch(name))


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    """Refuse what our own files never have, before a byte of it is unpacked."""
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if info.flag_bits & ~_UTF8 or not (is_stored or info.compress_type == zipfile.ZIP_DEFLATED):
        raise _damaged(path, info.filename)
    if info.file_size > MOST_MEMBER:
        raise _foreign(
            path, f"{info.filename} has {info.file_size // 2**20} MiB; the limit is {MOST_MEMBER // 2**20} MiB"
        )
    if _IMAGE.fullmatch(info.filename) and not (is_stored and info.compress_size == info.file_size):
        raise _damaged(path, info.filename)


def _check_plain(value: Any) -> None:
    """Refuse values of types that no checkpoint of GEMS holds.

    Raises:
        ValueError: there is one.
    """
    waiting = [value]
    while waiting:
        it = waiting.pop()
        if isinstance(it, dict):
            waiting.extend([*it, *it.values()])
        elif isinstance(it, list | tuple | set | frozenset):
            waiting.extend(it)
        elif isinstance(it, Send):
            waiting.extend([it.node, it.arg])
        elif isinstance(it, Interrupt):
            waiting.extend([it.id, it.value, it.response_schema])
        elif not isinstance(it, (*_PLAIN, BaseMessage)):
            raise ValueError(f"it holds a {type(it).__name__}, which GEMS does not write")  # noqa: TRY004


def _digest(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _blamed(path: Path, member: str) -> Iterator[None]:
    """Name the member that cannot be read."""
    try:
        yield
    except GemsConfigError:
        raise
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise _foreign(path, f"{member}: {place}: {problem['msg']}") from error
    except RecursionError as error:
        raise _foreign(path, f"{member} is nested too deep") from error
    except (*_UNREADABLE, TypeError, AttributeError) as error:
        raise _damaged(path, member) from error


def _damaged(path: Path, member: str) -> GemsConfigError:
    return GemsConfigError(f"{path} is damaged in its member {member}: copy it again, or export the thread anew")


def _foreign(path: Path, why: str) -> GemsConfigError:
    return GemsConfigError(f"{path} is no archive of a thread that `gems export` wrote: {why}")
