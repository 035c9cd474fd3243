"""Answers that come in pieces: server-sent events and lines of JSON.

A stream ends when its client leaves or reads too slowly; its source is closed within one step of the engine then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pacos.log import logger
from pacos.server.call import Call

_encode = msgspec.json.Encoder().encode

DONE = b"data: [DONE]\n\n"


def json_bytes(value: Any) -> bytes:
    """A value as JSON; msgspec types, dicts, lists and dataclasses."""
    return _encode(value)


def json_response(call: Call[Any], value: Any, status: int = 200) -> Response:
    """A value as the response to a call."""
    return Response(json_bytes(value), status, call.headers, "application/json")


def error_bytes(value: Any) -> bytes:
    """An error as JSON in ASCII, which harms no terminal and no log."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event with JSON data."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _encode(value) + b"\n\n"


def _error_event(value: Any) -> bytes:
    return event(value, "error")


def line(value: Any) -> bytes:
    """One line of a stream of JSON values."""
    return _encode(value) + b"\n"


class Streamed:
    """A response whose pieces come from an asynchronous iterator of bytes.

    `frame` makes a piece of the error that ends the stream early. A client that takes no byte for
    `slow_client_seconds` is dropped. `keep_alive` is sent when nothing else was for a while.
    """

    def __init__(
        self,
        call: Call[Any],
        pieces: AsyncIterator[bytes],
        *,
        media_type: str,
        frame: Callable[[Any], bytes],
        keep_alive: bytes = b"",
    ) -> None:
        self._call = call
        self._pieces = pieces
        self._frame = frame
        self._keep_alive = keep_alive
        self._headers = [
            (b"content-type", media_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        self._send_chunk: Callable[[bytes], Awaitable[None]] | None = None  # the connection's own way, where it has one
        self._sending_since: float | None = None
        self._last_sent = 0.0
        self._dropped = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until they end or the client is gone."""
        extra = [(name.lower().encode(), value.encode()) for name, value in self._call.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": self._headers + extra})
        if scope.get("http_version") == "1.1" and scope["method"] != "HEAD":
            self._send_chunk = scope.get("state", {}).get("send_chunk")
        loop = asyncio.get_running_loop()
        self._last_sent = loop.time()
        writing = asyncio.ensure_future(self._write(send, loop))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            while not writing.done() and not leaving.done():
                await asyncio.wait(
                    {writing, leaving}, timeout=self._patience(loop), return_when=asyncio.FIRST_COMPLETED
                )
                await self._check_progress(send, loop, writing)
            if not writing.done():
                self._call.metrics.disconnects.add()
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        abort = scope.get("state", {}).get("abort")
        if self._dropped and abort is not None:
            abort()
            await asyncio.sleep(0)  # the connection hears of its end before this request's

    def _patience(self, loop: asyncio.AbstractEventLoop) -> float:
        options = self._call.options
        if self._sending_since is not None:
            return max(0.05, self._sending_since + options.slow_client_seconds - loop.time())
        return min(options.slow_client_seconds, self._call.ping_seconds)

    async def _check_progress(self, send: Send, loop: asyncio.AbstractEventLoop, writing: asyncio.Future[None]) -> None:
        """Drop a client that takes nothing; tell one that waits for long that we are still here."""
        now, options = loop.time(), self._call.options
        if self._sending_since is not None:
            if now - self._sending_since >= options.slow_client_seconds:
                logger(__name__).info("request %s: the client reads too slowly and is dropped", self._call.id)
                self._dropped = True
                writing.cancel()
        elif self._keep_alive and not writing.done() and now - self._last_sent >= self._call.ping_seconds:
            self._last_sent = now
            await self._send(send, self._keep_alive)

    async def _send(self, send: Send, piece: bytes) -> None:
        if self._send_chunk is not None:
            await self._send_chunk(piece)
        else:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _write(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        try:
            try:
                async for piece in self._pieces:
                    self._last_sent = self._sending_since = loop.time()
                    await self._send(send, piece)
                    self._sending_since = None
            except Exception as error:  # noqa: BLE001 - the client hears of it in the stream
                await self._send(send, self._frame(self._call.rendered(error)))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(self._pieces, "aclose", None)
            if close is not None:
                await close()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def server_sent_events(
    call: Call[Any], pieces: AsyncIterator[bytes], frame: Callable[[Any], bytes] | None = None
) -> Streamed:
    """A stream of server-sent events; comments keep it alive while nothing comes."""
    return Streamed(
        call, pieces, media_type="text/event-stream", frame=frame or _error_event, keep_alive=b": keep-alive\n\n"
    )


def json_lines(call: Call[Any], pieces: AsyncIterator[bytes]) -> Streamed:
    """A stream of JSON values, one a line."""
    return Streamed(call, pieces, media_type="application/x-ndjson", frame=line)
