"""Unit tests open no socket."""

from __future__ import annotations

import pytest
from pytest_socket import disable_socket


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    # A pair of Unix sockets is how an event loop wakes itself up.
    disable_socket(allow_unix_socket=True)
