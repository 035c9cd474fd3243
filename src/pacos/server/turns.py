"""Requests that come at once begin one after another, with the event loop's other work between them."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """A request takes a millisecond or two to begin: a hundred in a row would hold up every stream."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False

    async def take(self) -> None:
        """Return when it is this request's turn: the next one's comes after the loop has looked around."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._give, loop)
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its request may have been cancelled
                turn.set_result(None)
                loop.call_soon(self._give, loop)
                return
        self._taken = False
