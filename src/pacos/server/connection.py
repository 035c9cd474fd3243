"""One client's connection: uvicorn's, with limits that it lacks and errors in JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol, RequestResponseCycle

from pacos.settings.serve import ServeOptions

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
)


def connections(options: ServeOptions) -> type[H11Protocol]:
    """The class of connections under these options."""

    class Connection(_Connection):
        limits = options

    return Connection


class _Connection(H11Protocol):
    limits: ServeOptions

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = logging.getLogger("pacos.connections")
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it when there are too many."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort, "send_chunk": self._send_chunk}
        if len(self.connections) > self.limits.connections_max:
            body = json.dumps({"error": {"message": "too many connections", "type": "server_error", "code": 503}})
            transport.write(_REFUSAL % (len(body), body.encode()))
            transport.close()
        else:
            self._expect_head(self.limits.idle_seconds)

    async def _send_chunk(self, data: bytes) -> None:
        """Send a piece of an answer that goes out in chunks, and wait while the client does not read.

        uvicorn and h11 take three times as long on a piece as the socket does, and know nothing more after it.
        """
        if self.conn.our_state is h11.SEND_BODY and not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            if self.flow.write_paused:
                await self.flow.drain()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a request's head must be whole within `head_seconds` of its first byte."""
        before = cast("RequestResponseCycle | None", self.cycle)  # uvicorn declares it without None
        waiting = before is None or before.response_complete
        if waiting:
            self._expect_head(self.limits.head_seconds, restart=before is None)
        super().data_received(data)
        if self.cycle is not before or self.transport.is_closing():
            self._stop_head_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; the status is the parser's advice, such as 431 for a head that is too long."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        told = f"{msg} {error}".strip()[:300]
        body = json.dumps({"error": {"message": told, "type": "invalid_request_error", "param": None, "code": status}})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self._answering():
            reason = STATUS_PHRASES.get(status, b"")
            self.transport.write(
                self.conn.send(h11.Response(status_code=status, headers=headers, reason=reason)) or b""
            )
            self.transport.write(self.conn.send(h11.Data(data=body.encode())) or b"")
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b"")
        self.transport.close()

    def _answering(self) -> bool:
        return bool(self.cycle) and self.cycle.response_started and not self.cycle.response_complete

    def _expect_head(self, seconds: float, *, restart: bool = False) -> None:
        """Close the connection when no whole head came in time; bytes that trickle in do not prolong it."""
        if self._head_timer is not None:
            if not restart or self._head_timer.when() <= self.loop.time() + seconds:
                return
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(seconds, self._head_too_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
