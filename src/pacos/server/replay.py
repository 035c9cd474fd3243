"""Streams that outlive their connection: what was sent is kept a while, and a client may come back for the rest.

A request with the header X-Conversation-Id starts one; a later one of the same id and API key takes its place.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from pacos.server.call import Call
from pacos.server.problem import RequestError
from pacos.server.stream import event

HEADER = "x-conversation-id"
KEPT_BYTES = 4 << 20  # of one stream; the oldest go first
KEPT_SECONDS = 300.0  # after its end
KEPT_STREAMS = 256
NAME_CHARACTERS_MAX = 512


class Replay:
    """One stream: its latest bytes, and whoever reads them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.dropped = 0
        self.ended: float | None = None
        self.began = time.time()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, call: Call[Any], pieces: AsyncIterator[bytes]) -> None:
        """Follow the pieces of a call to their end, whoever reads them; what the call holds is let go then."""
        held = call.cleanup.pop_all()

        async def follow() -> None:
            async with held:
                try:
                    async for piece in pieces:
                        self._add(piece)
                except Exception as error:  # noqa: BLE001 - the client hears of it in the stream
                    self._add(event(call.rendered(error), "error"))
                finally:
                    self.ended = time.monotonic()
                    self._changed.set()

        self._task = asyncio.ensure_future(follow())

    def _add(self, piece: bytes) -> None:
        self.data += piece
        if len(self.data) > KEPT_BYTES:
            excess = len(self.data) - KEPT_BYTES
            del self.data[:excess]
            self.dropped += excess
        self._changed.set()

    def stop(self) -> None:
        """End it; nothing more is computed."""
        if self._task is not None:
            self._task.cancel()

    async def read(self, start: int) -> AsyncIterator[bytes]:
        """Its bytes from a place on, then what comes. Errors: RequestError for a reader that falls too far behind."""
        while True:
            self._changed.clear()
            place = start - self.dropped
            if place < 0:
                problem = f"the stream is read too slowly: {-place} bytes are no longer kept"
                raise RequestError(problem, status=503, code="reader_too_slow")
            piece = bytes(self.data[place:])
            if piece:
                start = self.dropped + place + len(piece)
                yield piece
            elif self.ended is not None:
                return
            else:
                await self._changed.wait()
                self._changed.set()  # others wait too


class Replays:
    """The streams of one server that may be read again, by owner and name."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Replay] = OrderedDict()

    @staticmethod
    def of(call: Call[Any]) -> Replays:
        """Those of the server that a call came to."""
        state = call.request.app.state
        if not hasattr(state, "replays"):
            state.replays = Replays()
        found: Replays = state.replays
        return found

    def started(self, call: Call[Any], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces themselves, or where the request names a conversation, a stream of them that outlives it."""
        name = call.request.headers.get(HEADER, "")
        if not name:
            return pieces
        if len(name) > NAME_CHARACTERS_MAX:
            raise RequestError(
                f"X-Conversation-Id has {len(name)} characters", code="invalid_value", hint="use up to 512"
            )
        self._forget_old()
        self.stop(call.owner, name)
        made = self._kept[call.owner, name] = Replay()
        made.start(call, pieces)
        return made.read(0)

    def find(self, owner: str, name: str) -> Replay | None:
        """A stream by its name."""
        self._forget_old()
        return self._kept.get((owner, name))

    def stop(self, owner: str, name: str) -> None:
        """End a stream and forget it; there need be none."""
        found = self._kept.pop((owner, name), None)
        if found is not None:
            found.stop()

    def _forget_old(self) -> None:
        now = time.monotonic()
        for key, one in list(self._kept.items()):
            if one.ended is not None and (now - one.ended > KEPT_SECONDS or len(self._kept) > KEPT_STREAMS):
                del self._kept[key]
        if len(self._kept) > KEPT_STREAMS:
            self.stop(*next(iter(self._kept)))
