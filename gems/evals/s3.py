"""A real S3 server on loopback, from the `moto` package, for tests and measurements. It forgets all when it ends.

It can be told to answer requests as a troubled S3 does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from wsgiref.types import StartResponse, WSGIEnvironment

REGION: Final = "us-east-1"
_ERROR: Final = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{0}</Code><Message>{1}</Message></Error>"


class Trouble(NamedTuple):
    """An answer of S3 that is none of use."""

    status: str
    code: str
    message: str


SLOW_DOWN: Final = Trouble("503 Slow Down", "SlowDown", "Please reduce your request rate.")
INTERNAL_ERROR: Final = Trouble("500 Internal Server Error", "InternalError", "We encountered an internal error.")
ACCESS_DENIED: Final = Trouble("403 Forbidden", "AccessDenied", "Access Denied")
WRONG_REGION: Final = Trouble(
    "400 Bad Request", "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-central-1'"
)


class LoopbackS3:
    """One server, while it is entered."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._exit = ExitStack()
        self._numbers = count(1)
        self._app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] | None = None
        self._troubles: list[Trouble] = []
        self.down: Trouble | None = None
        """How every request is answered; None: the server is well."""
        self.asked: list[str] = []
        """Method and path of each request, with a blank between."""
        self.url = ""

    def __enter__(self) -> Self:
        """Start it on a free port."""
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log(self, *_: Any) -> None:
                """Standard error belongs to whoever is tested."""

        with ExitStack() as stack:
            self._app = DomainDispatcherApplication(create_backend_app)
            server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Silent)
            stack.callback(server.server_close)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            self.url = f"http://127.0.0.1:{server.server_port}"
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._exit.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which AWS's own tools find it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "gems",
            "AWS_SECRET_ACCESS_KEY": "plugh",
            "AWS_DEFAULT_REGION": REGION,
        }

    def new_bucket(self) -> str:
        """Make an empty bucket, and answer its name."""
        name = f"pictures-{next(self._numbers)}"
        self._backend.create_bucket(name, REGION)
        return name

    def names(self, bucket: str) -> set[str]:
        """The keys of all objects."""
        return set(self._backend.buckets[bucket].keys)

    def damage(self, bucket: str, name: str) -> None:
        """Turn a bit of an object."""
        content = bytearray(self._backend.get_object(bucket, name).value)
        content[len(content) // 2] ^= 1
        self._backend.put_object(bucket, name, bytes(content))

    def age(self, bucket: str, seconds: float) -> None:
        """As if all objects had been written so long ago."""
        for key in self._backend.buckets[bucket].keys.values():
            key.last_modified -= timedelta(seconds=seconds)

    def trouble(self, *answers: Trouble) -> None:
        """Answer the next requests so, one each."""
        self._troubles.extend(answers)

    @property
    def _backend(self) -> Any:
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        trouble = self._troubles.pop(0) if self._troubles else self.down
        if trouble is None:
            assert self._app is not None  # noqa: S101  # it is entered
            return self._app(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        content = _ERROR.format(trouble.code, trouble.message).encode()
        start(trouble.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else content]
