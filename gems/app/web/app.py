"""The application that langgraph.json names."""

from __future__ import annotations

from starlette.middleware import Middleware

from gems.app.web import health, images, options, page, reports, runs, sessions, threads, uploads
from gems.app.web.gate import Gate
from gems.app.web.limits import load_limits
from gems.app.web.site import Site, make_app
from gems.graph.serving import Threads, services

app = make_app(
    Site(services, Threads(services)),
    [
        page.routes,
        sessions.routes,
        images.routes,
        uploads.routes,
        runs.routes,
        threads.routes,
        reports.routes,
        options.routes,
        health.routes,
    ],
    [Middleware(Gate, settings=services.settings, limits=load_limits(services.settings))],
)

__all__ = ["app"]
