"""Addresses of images that any front end can show: an `<img>` sends no token, so its address carries leave to see it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from gems.core.signing import is_signature, signature

PATH: Final = "/gems/images/"
DAYS: Final = 30
"""How long an address is good, where there are tokens."""


class ImageLinks:
    """Makes the addresses, and reads them back."""

    def __init__(self, base: str | None, tokens: Mapping[str, SecretStr]) -> None:
        """For a server that others reach at `base` (None: nobody does) and that knows `tokens` by their owners."""
        self._base = base.rstrip("/") if base else None
        self._tokens = tokens

    def url(self, artifact: str, owner: str) -> str | None:
        """Where an image of the owner's can be seen; None where there is no server, or the owner has no token."""
        if self._base is None:
            return None
        address = f"{self._base}{PATH}{artifact}"
        if not self._tokens:
            return address
        if owner not in self._tokens:
            return None
        # Whole days, so that an address stays the same for a day, and browsers find it in their caches.
        expires = (int(time.time()) // 86400 + DAYS + 1) * 86400
        return f"{address}?key={quote(owner)}.{expires}.{self._sign(artifact, owner, expires)}"

    def owner_of_key(self, artifact: str, key: str) -> str | None:
        """Whose image a key lets one see; None where it is not good for this one, or not any more."""
        told, _, given = key.rpartition(".")
        owner, _, expires = told.rpartition(".")
        if owner not in self._tokens or not re.fullmatch("[0-9]{1,12}", expires):
            return None
        is_good = is_signature(self._tokens[owner], "image", f"{owner} {artifact} {expires}", given)
        return owner if is_good and time.time() < int(expires) else None

    def _sign(self, artifact: str, owner: str, expires: int) -> str:
        return signature(self._tokens[owner], "image", f"{owner} {artifact} {expires}")
