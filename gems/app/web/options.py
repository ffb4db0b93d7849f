"""What can be asked for, and what is told: profiles, skills and limits of this machine, and the schema of events."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems import __version__
from gems.app.web.site import Site
from gems.app.web.thumbnails import SIDES
from gems.app.web.untold import model_name, untold
from gems.core.context import MAX_PROMPT, MAX_SIDE, MIN_SIDE, GemsContext, GemsInput
from gems.core.errors import GemsConfigError
from gems.core.events import events_schema
from gems.core.settings import ENVIRONMENT
from gems.memory.references import MOST_BYTES, MOST_PIXELS, MOST_SIDE

_DEFAULTS: Final = ("size", "max_rounds", "candidates", "review", "lessons", "mode")
"""Options of a profile that a form begins with."""


def routes(site: Site) -> list[Route]:
    """`GET /gems/options` and `GET /gems/events.json`."""

    async def options(_: Request) -> Response:
        # Looking at a profile's models may read files and import packages.
        told = await asyncio.to_thread(_told, site)
        return JSONResponse(told, headers={"cache-control": "no-cache"})

    async def events(_: Request) -> Response:
        schema = await asyncio.to_thread(events_schema)
        return JSONResponse(schema, headers={"cache-control": "no-cache"}, media_type="application/schema+json")

    return [
        Route("/gems/options", options, methods=["GET"]),
        Route("/gems/events.json", events, methods=["GET"]),
    ]


def _told(site: Site) -> dict[str, Any]:
    settings = site.settings
    own = [ENVIRONMENT] if settings.own_mllm or settings.own_images else []
    return {
        "profiles": [_profile(site, name) for name in [*own, *settings.profiles]],
        "skills": [card._asdict() for card in site.services.skills.cards()],
        "limits": LIMITS,
        "version": __version__,
    }


def _profile(site: Site, name: str) -> dict[str, Any]:
    """A profile; where it cannot be used as the machine is now, `problem` says why."""
    default = site.settings.resolve().name
    profile = site.settings.resolve(name)
    told: dict[str, Any] = {
        "name": name,
        "mllm": model_name(profile.mllm),
        "images": model_name(profile.images),
        "default": name == default,
        **profile.model_dump(include=set(_DEFAULTS)),
        "edits": False,
        "references": 0,
        "paid": False,
        "problem": None,
    }
    try:
        told["paid"] = site.settings.is_paid(profile)
        can = site.services.models(name).images.capabilities
    except GemsConfigError as error:
        return {**told, "problem": untold(str(error))}
    return {**told, "edits": can.edit, "references": can.references}


def _most(model: type[GemsInput] | type[GemsContext], name: str, bound: str) -> int:
    """A limit of a field, as its schema tells it."""
    field = model.model_json_schema()["properties"][name]
    return int(next(part[bound] for part in [field, *field.get("anyOf", [])] if bound in part))


LIMITS: Final[dict[str, Any]] = {
    "prompt": MAX_PROMPT,
    "references": _most(GemsInput, "references", "maxItems"),
    "max_rounds": _most(GemsContext, "max_rounds", "maximum"),
    "candidates": _most(GemsContext, "candidates", "maximum"),
    "least_side": MIN_SIDE,
    "most_side": MAX_SIDE,
    "image_bytes": MOST_BYTES,
    "image_pixels": MOST_PIXELS,
    "image_side": MOST_SIDE,
    "thumbnails": list(SIDES),
}
"""Sides are in pixels. `image_...` is of a picture that is sent; it is kept with `image_side` on its longest side."""
