"""Whether the server is ready, its numbers, its documentation."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from pacos.server import metrics, openapi
from pacos.server.call import Call
from pacos.server.page import Page, wants_page
from pacos.server.problem import RequestError
from pacos.server.stream import json_response


class Health(msgspec.Struct, omit_defaults=True):
    """Whether requests are taken, and the open models; while models are being opened, how far that is.

    `error` says the same as llama-server does.
    """

    status: str
    models: list[str] = []
    progress: dict[str, Any] | None = None
    failed: dict[str, str] | None = None
    error: dict[str, Any] | None = None


def _unready(status: str, **more: Any) -> Health:
    error = {"code": 503, "message": status.capitalize(), "type": "unavailable_error"}
    return Health(status, error=error, **more)


async def health(call: Call[None]) -> ASGIApp:
    """Say whether the models are open and compute: 200 when they do.

    503 before, when none could be opened, when the server stops, and when an engine has work and takes no step for
    `stall_seconds`.
    """
    residency = call.residency
    progress = residency.progress()
    failed = {name: residency.failed[name] for name in residency.ahead if name in residency.failed}
    stalled = [
        name
        for name, resident in list(residency.open.items())
        if resident.llm.engine.statistics().stalled_seconds > call.options.stall_seconds
    ]
    if call.request.app.state.requests.draining:
        found, status = _unready("draining"), 503
    elif stalled:
        found, status = _unready("stalled", models=stalled), 503
    elif progress["ready"] < progress["of"]:
        found, status = _unready("loading model", progress=progress), 503
    elif failed and len(failed) == progress["of"]:
        found, status = _unready("error", failed=failed), 503
    else:
        found, status = Health("ok", list(residency.open), failed=failed or None), 200
    return json_response(call, found, status)


async def root(call: Call[None]) -> ASGIApp:
    """The web page for browsers; the health for programs."""
    if wants_page(call.request):
        page: Page = call.request.app.state.page
        return await page.answer(call)
    return await health(call)


async def numbers(call: Call[None]) -> ASGIApp:
    """The server's numbers for Prometheus. Errors: RequestError 404 when they are not to be told."""
    if not call.options.metrics:
        problem = "the server's numbers are not served"
        raise RequestError(problem, status=404, code="not_found", hint="start the server with --metrics")
    return Response(call.metrics.text(), headers={"Content-Type": metrics.MEDIA_TYPE})


async def openapi_document(call: Call[None]) -> ASGIApp:
    """The OpenAPI document."""
    return json_response(call, openapi.document())


async def docs_page(call: Call[None]) -> ASGIApp:
    """The same to read; it loads nothing from elsewhere."""
    rules = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    headers = {"Content-Security-Policy": rules}
    return Response(openapi.page(), headers=headers, media_type="text/html")
