"""A shelf in a bucket, or anywhere else that the fsspec package and its drivers can reach."""

from __future__ import annotations

import errno
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from gems.core.errors import GemsConfigError, StoreOutage
from gems.memory.shelves import PART, Entry

T = TypeVar("T")

WAITS: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each repeat of a request that met an outage, at most: half of it is left to chance."""
PATIENCE: Final = 60.0
"""Seconds after which nothing is repeated."""
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_S3: Final = ("s3", "s3a")
_WHOLE: Final = (*_S3, "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory")
"""Protocols whose objects appear whole, at one stroke; elsewhere they are written aside, and renamed."""
_PROTOCOL: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_ADDRESS: Final = re.compile(r"\"?https?://\S+")
_MOMENTS: Final = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
"""Under which keys drivers tell when an object was written."""
_NOT_ALLOWED: Final = (
    "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and their rights"
)
_WRONG_PLACE: Final = "check GEMS_ARTIFACTS_URL, the region (AWS_DEFAULT_REGION) and the endpoint (AWS_ENDPOINT_URL_S3)"
_NO_KEYS: Final = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
_NO_PLACE: Final = {"NoRegionError", "InvalidRegionError", "ParamValidationError", "InvalidEndpointDiscoveryError"}
_MISUSED: Final = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, getattr(errno, "EREMCHG", errno.EINVAL)}


class ObjectShelf:
    """Objects below one root. What an outage refuses is asked again for a while; what is wrong is said at once."""

    def __init__(
        self,
        open_files: Callable[[], Any],
        root: str,
        place: str,
        *,
        whole: bool = True,
        can_copy: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        waits: Sequence[float] = WAITS,
    ) -> None:
        """Keep objects under `root`.

        Args:
            open_files: Makes the fsspec file system, when it is first needed.
            root: The path there: bucket and prefix.
            place: The same for people.
            whole: Whether an object that is written appears at one stroke.
            can_copy: Whether an object can be copied onto itself, which makes it new.
            sleep: Waits so many seconds.
            waits: How long, before each repeat.
        """
        self._open_files = open_files
        self._root = root.rstrip("/")
        self._place = place
        self._whole = whole
        self._can_copy = can_copy
        self._sleep = sleep
        self._waits = waits
        self._opening = threading.Lock()
        self._opened: Any = None

    @property
    def place(self) -> str:
        """The URL."""
        return self._place

    def read(self, name: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        return bytes(self._ask(lambda files: files.cat_file(self._path(name))))

    def write(self, name: str, content: bytes) -> None:
        """Write an object whole."""
        path = self._path(name)
        try:
            self._ask(
                lambda files: files.pipe_file(path, content) if self._whole else _write_aside(files, path, content)
            )
        except FileNotFoundError as error:
            raise GemsConfigError(f"{self.place} is not there: make the bucket, or {_WRONG_PLACE}") from error

    def look(self, name: str) -> Entry | None:
        """What is known of an object."""
        try:
            return _entry(name, self._ask(lambda files: files.info(self._path(name))))
        except FileNotFoundError:
            return None

    def refresh(self, name: str) -> bool:
        """Copy an object onto itself, where the server can do that."""
        if not self._can_copy:
            return False
        path = self._path(name)
        try:
            self._ask(lambda files: files.cp_file(path, path, MetadataDirective="REPLACE"))
        except FileNotFoundError:
            return False
        return True

    def entries(self) -> Iterator[Entry]:
        """All objects below the root."""
        for path, told in sorted(self._ask(lambda files: files.find(self._root, detail=True)).items()):
            yield _entry(path.strip("/")[len(self._root.strip("/")) :].strip("/"), told)

    def remove(self, name: str) -> None:
        """Remove an object. Asked once only: repeated late, the request might remove what came after."""
        try:
            self._ask(lambda files: files.rm_file(self._path(name)), waits=())
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _files(self) -> Any:
        with self._opening:
            if self._opened is None:
                self._opened = self._open_files()
            return self._opened

    def _ask(self, call: Callable[[Any], T], waits: Sequence[float] | None = None) -> T:
        until = time.monotonic() + PATIENCE
        left = list(self._waits if waits is None else waits)
        while True:
            try:
                return call(self._files())
            except (FileNotFoundError, GemsConfigError):
                raise
            except Exception as error:
                if remedy := _remedy(error):
                    raise GemsConfigError(f"{self.place} cannot be used: {_said(error)}; {remedy}") from error
                if not left or time.monotonic() > until:
                    raise StoreOutage(
                        f"{self.place} does not answer: {_said(error)}; what was begun can be resumed when it does: check "
                        "the network, and AWS_ENDPOINT_URL_S3 where it is set"
                    ) from error
            self._sleep(left.pop(0) * random.uniform(0.5, 1.0))


def object_shelf_at(url: str, waits: Sequence[float] = WAITS) -> ObjectShelf:
    """The shelf at a URL such as `s3://BUCKET/PREFIX`, whose requests are repeated after `waits`. Nothing is opened yet.

    Raises:
        GemsConfigError: it is no URL that anything here could open.
    """
    protocol = url.partition("://")[0]
    parts = urlsplit(url)
    if not _PROTOCOL.fullmatch(protocol) or not parts.netloc.strip("/"):
        raise GemsConfigError(f"GEMS_ARTIFACTS_URL {_without_password(url)!r}: write a folder, or s3://BUCKET/PREFIX")
    if parts.password is not None or parts.query or parts.fragment:
        raise GemsConfigError(
            f"GEMS_ARTIFACTS_URL {_without_password(url)!r} holds more than a place: keys belong where the store's own "
            "tools look for them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    place = url.rstrip("/")
    root = f"{parts.netloc}{parts.path}" if protocol in _WHOLE else parts.path
    return ObjectShelf(
        lambda: _open(protocol, place),
        root,
        place,
        whole=protocol in _WHOLE,
        can_copy=protocol in _S3,
        waits=waits,
    )


def _open(protocol: str, url: str) -> Any:
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        files, _ = url_to_fs(url, **_options(protocol))
    except ImportError as error:
        raise GemsConfigError(f"{protocol}:// needs a further package: {_installing(protocol, error)}") from error
    except ValueError as error:
        raise GemsConfigError(f"GEMS_ARTIFACTS_URL {url!r} cannot be opened: {error}; {_WRONG_PLACE}") from error
    if protocol in _S3:
        files.retries = 1  # repeats are counted in one place only
    return files


def _options(protocol: str) -> dict[str, Any]:
    # What another worker has stored must be seen at once.
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol in _S3:
        options["max_concurrency"] = 1  # otherwise each reading asks for the size first
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "retries": {"total_max_attempts": 1},
        }
    return options


def _installing(protocol: str, error: ImportError) -> str:
    if protocol in _S3:
        return "pip install 'gems-agent[s3]'"
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    package = str(known_implementations.get(protocol, {}).get("class", "fsspec")).partition(".")[0]
    return str(error) if package == "fsspec" else f"pip install {package}"


def _write_aside(files: Any, path: str, content: bytes) -> None:
    folder, _, _ = path.rpartition("/")
    files.makedirs(folder, exist_ok=True)
    part = f"{folder}/{PART}{uuid.uuid4().hex}"
    try:
        files.pipe_file(part, content)
        files.mv(part, path)
    except BaseException:
        if files.exists(part):
            files.rm_file(part)
        raise


def _entry(name: str, told: Mapping[str, Any]) -> Entry:
    moment = next((told[key] for key in _MOMENTS if told.get(key)), None)
    return Entry(name, int(told.get("size") or 0), _seconds(moment))


def _seconds(moment: object) -> float:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return inf
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(moment) if isinstance(moment, int | float) else inf


def _remedy(error: Exception) -> str:
    """What a person must do; empty where waiting may do it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, PermissionError) or names & _NO_KEYS:
        return f"{_NOT_ALLOWED}; {_WRONG_PLACE}" if "egion" in str(error) else _NOT_ALLOWED
    is_misused = isinstance(error, OSError) and error.errno in _MISUSED
    if is_misused or names & _NO_PLACE or isinstance(error, ValueError | TypeError | NotImplementedError):
        return _WRONG_PLACE
    return ""


def _said(error: Exception) -> str:
    """The error's own words, in one line and without addresses: they may end up in a run's state."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _ADDRESS.sub("its address", " ".join(words.split()))[:300] or type(error).__name__


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]
