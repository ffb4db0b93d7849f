"""Drawings in the forms of OpenAI's Images API."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, Final

from PIL import Image

from gems.app.serve.fields import ImagesFields
from gems.app.serve.tickets import Finished
from gems.app.serve.wanted import Wanted
from gems.backends.local.images import encode

NO_TOKENS: Final[Mapping[str, Any]] = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
"""Programs read it from every event; tokens are not counted here."""


def common_part(fields: ImagesFields, wanted: Wanted) -> dict[str, Any]:
    """What all pictures of a request share."""
    return {"size": str(wanted.size), "output_format": fields.output_format, "background": "opaque"}


def picture_part(fields: ImagesFields, wanted: Wanted, done: Finished) -> dict[str, Any]:
    """One picture, and what decided it. This encodes it: not for an event loop."""
    painted = done.painted
    lost = [wanted.served.told(warning) for warning in painted.warnings]
    return {
        "b64_json": base64.b64encode(_encoded(painted.image, fields)).decode(),
        "seed": done.seed,
        "seconds": round(painted.seconds, 3),
        "queued_seconds": round(done.queued, 3),
        **({"warnings": lost} if lost else {}),
    }


def _encoded(image: Image.Image, fields: ImagesFields) -> bytes:
    if fields.output_format == "png":
        return encode(image)
    buffer = io.BytesIO()
    image.save(buffer, fields.output_format.upper(), quality=fields.output_compression)
    return buffer.getvalue()
