"""Ask this server one request of a batch, as if a client had sent it, but with low priority and without haste."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from pacos.server.call import Call
from pacos.server.dialects import Dialect, Operation, Parts, dialects
from pacos.server.dialects.batches.lines import Reply
from pacos.server.dialects.batches.shapes import ENDPOINTS, new_id
from pacos.server.fields import convert
from pacos.server.problem import RequestError
from pacos.server.stream import error_bytes

PRIORITY = -50
_BUSY = ("server_busy", "queue_timeout")
_WAIT_SECONDS_MAX = 30.0
_PATIENCE_SECONDS = 1e6


class Asker:
    """Runs requests of the endpoints that batches may use."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._options = replace(parts.options, queue_seconds=_PATIENCE_SECONDS)
        self._operations: dict[str, tuple[Dialect, Operation]] = {
            operation.path: (dialect, operation)
            for dialect in dialects()
            for operation in dialect.operations
            if operation.path in ENDPOINTS and operation.method == "POST"
        }

    async def ask(self, endpoint: str, body: dict[str, Any], owner: str) -> Reply:
        """The answer, whatever it is; while the server is too busy, it is asked again."""
        wait = 1.0
        while True:
            reply, code = await self._once(endpoint, body, owner)
            if reply.status_code != 503 or code not in _BUSY:
                return reply
            await asyncio.sleep(wait)
            wait = min(2 * wait, _WAIT_SECONDS_MAX)

    async def _once(self, endpoint: str, body: dict[str, Any], owner: str) -> tuple[Reply, str | None]:
        dialect, operation = self._operations[endpoint]
        parts, request_id = self._parts, new_id("req_")
        state = {
            "request_id": request_id,
            "began": time.monotonic(),
            "facts": {},
            "owner": owner,
            "priority": PRIORITY,
        }
        scope = {
            "type": "http",
            "method": "POST",
            "path": endpoint,
            "query_string": b"",
            "headers": [],
            "state": state,
            "app": parts.app,
        }
        call: Call[Any] = Call(Request(scope, _nothing), dialect, parts.residency, self._options, parts.metrics)
        code = None
        async with call.cleanup:
            try:
                if body.get("stream"):
                    problem = "stream is true"
                    raise RequestError(problem, field="stream", code="invalid_value", hint="batches are not streamed")
                call.body = convert(body, operation.body)
                response = cast("Response", await operation.run(call))
                status, data = response.status_code, bytes(response.body)
            except Exception as error:  # noqa: BLE001 - every request gets an answer
                told = call.problem(error)
                status, data, code = told.status, error_bytes(dialect.render(told)), told.code
        return Reply(status, request_id, msgspec.Raw(data)), code


async def _nothing() -> Message:
    """A client that neither sends more nor leaves."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
