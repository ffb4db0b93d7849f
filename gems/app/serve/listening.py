"""The port that is listened at: taken before anything is loaded, so that a taken one is told at once."""

from __future__ import annotations

import errno
import socket
from typing import Final

from gems.core.errors import GemsConfigError

_BACKLOG: Final = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets at every address of a host. Port 0 takes one that is free.

    Raises:
        GemsConfigError: the port is taken or forbidden, or there is no such host here.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise GemsConfigError(f"--host {host!r} is no address of this machine: {error.strerror or error}") from error
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((entry[0], entry[4][0]) for entry in found):
            chosen = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((str(address), chosen), family=family, backlog=_BACKLOG))
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise GemsConfigError(_explained(host, port, error)) from error
    return sockets


def address_of(host: str, sockets: list[socket.socket]) -> str:
    """The URL that programs ask; of a server for the whole network, the one on this machine."""
    port = sockets[0].getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host)  # noqa: S104 - read, not bound
    return f"http://{name or (f'[{host}]' if ':' in host else host)}:{port}"


def _explained(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: something listens there already; stop it, or choose another, such as --port {port + 1}"
    if error.errno == errno.EACCES:
        return f"--port {port} is not for everyone: choose one above 1023"
    return f"--host {host!r} --port {port} cannot be listened at: {error.strerror or error}"
