"""The server's own operations: health, numbers, documentation, and what the web page needs."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.openai import shapes
from pacos.server.dialects.pacos import conversations, health, options, status

_HEALTH = [
    Operation("GET", path, run, summary, reply=health.Health, keyless=True, light=True)
    for path, run, summary in (
        ("/health", health.health, "Tell whether the server is ready."),
        ("/", health.root, "The web page for browsers, else as /health."),
        ("/v1/health", health.health, "As /health."),
    )
]

DIALECT = Dialect(
    "pacos",
    (
        *_HEALTH,
        Operation("GET", "/openapi.json", health.openapi_document, "This document.", light=True),
        Operation("GET", "/docs", health.docs_page, "This document as a page.", light=True),
        Operation("GET", "/metrics", health.numbers, "Numbers for Prometheus.", light=True),
        Operation(
            "GET",
            "/pacos/options",
            options.run,
            "Tell every option of an answer with its type, bounds and the default of a model: ?model=NAME.",
            reply=options.Options,
            light=True,
        ),
        Operation(
            "GET",
            "/pacos/status",
            status.run,
            "Tell what the server does now, and did in the last minutes: ?since=TIME.",
            reply=status.Status,
            light=True,
        ),
        Operation(
            "GET",
            "/pacos/plan",
            status.plan,
            "Tell the plan of a model for a drawing: ?model=NAME.",
            reply=status.Drawing,
            light=True,
        ),
        *conversations.OPERATIONS,
    ),
    shapes.render,
    {},
    prefixes=("/pacos/",),
    background=conversations.kept,
)
