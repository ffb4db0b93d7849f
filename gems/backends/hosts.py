"""Which machine a server runs on, as far as its URL tells."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

_THIS_MACHINE: Final = ("localhost", "host.docker.internal")
"""Names of the machine that this process runs on, the second from within a container."""


def is_local(url: str) -> bool:
    """Whether a server runs on this machine."""
    return _is_this_machine(_host(url))


def on_one_machine(url: str, other: str | None) -> bool:
    """Whether two servers run on the same machine; None is this process. Nothing is looked up: names are compared."""
    if other is None or is_local(other):
        return is_local(url)
    return _host(url) == _host(other)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def _is_this_machine(host: str) -> bool:
    if host in _THIS_MACHINE or host.endswith(".localhost") or host == socket.gethostname().casefold():
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
