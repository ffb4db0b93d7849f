"""LangSmith's key is for LangSmith: langsmith sends it with all that goes to an OpenTelemetry collector, whosever it is."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import Final
from urllib.parse import urlsplit

from langsmith import Client

_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
_LANGSMITH: Final = "https://api.smith.langchain.com"


def set_headers(environ: MutableMapping[str, str]) -> bool:
    """Where another's collector is named and its headers are not, name harmless ones; answer whether that was so."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    langsmith = environ.get("LANGSMITH_ENDPOINT") or environ.get("LANGCHAIN_ENDPOINT") or _LANGSMITH
    if not endpoint or urlsplit(endpoint).netloc == urlsplit(langsmith).netloc or environ.get(_HEADERS):
        return False
    environ[_HEADERS] = "x-sent-by=gems"
    return True


def keep_key_from(client: Client) -> None:
    """See that what this client sends to another's collector goes without the key.

    `langgraph dev` makes a client of its own before anything of ours is imported, and with it an exporter that has the key.
    """
    if not set_headers(os.environ) or client.otel_exporter is None or not _is_langsmiths_own():
        return
    from langsmith._internal.otel._otel_client import get_otlp_tracer_provider
    from langsmith._internal.otel._otel_exporter import OTELExporter

    client.otel_exporter = OTELExporter(tracer_provider=get_otlp_tracer_provider())  # type: ignore[no-untyped-call]


def _is_langsmiths_own() -> bool:
    """Whether langsmith has made the provider of this process, rather than the program."""
    trace = sys.modules.get("opentelemetry.trace")
    resource = getattr(trace.get_tracer_provider(), "resource", None) if trace else None
    return bool(resource and resource.attributes.get("langsmith.internal_provider"))
