"""Signatures under what a server hands out, so that nobody else can have made it.

The key is derived from the token of the one it is for: no key of its own has to be kept or shared by several servers, and
a new token ends all that was signed under the old one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Literal

from pydantic import SecretStr

Purpose = Literal["session", "image"]


def signature(token: SecretStr, purpose: Purpose, text: str) -> str:
    """HMAC-SHA256 of a text, as letters that may stand in a URL or a cookie."""
    key = hashlib.sha256(f"gems {purpose} {token.get_secret_value()}".encode()).digest()
    return base64.urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256")).decode().rstrip("=")


def is_signature(token: SecretStr, purpose: Purpose, text: str, given: str) -> bool:
    """Whether a signature is right; the time taken says nothing about how nearly."""
    return hmac.compare_digest(signature(token, purpose, text).encode(), given.encode("utf-8", "replace"))
