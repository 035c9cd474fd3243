"""Event loops as consumers: the engine's thread wakes each at most once a step, for all its sequences together."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import asyncio

    from pacos.engine.sequence import Sequence

_WAKES_SECONDS = 0.008  # between two looks at streams that run


async def news(sequence: Sequence) -> None:
    """Return when a sequence has something to take; no thread waits for it."""
    import asyncio

    waker = _waker(asyncio.get_running_loop())
    sequence.listener = waker  # before the look below: what comes after it is told
    if not sequence.ready:
        await waker.wait(sequence)


class LoopWaker:
    """Wakes the tasks of one event loop.

    At once for the first token of an answer and after a pause; else so that it looks at streams no more than
    `_WAKES_SECONDS` allows. A small model makes a token in less time than a loop takes to hand 64 of them on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Sequence, asyncio.Future[None]] = {}
        self._lock = threading.Lock()
        self._news: dict[Sequence, None] = {}  # not told yet; under _lock, as the next one
        self._coming = False  # a wake will tell all of them
        self._last = -math.inf

    def notify(self, sequences: list[Sequence]) -> None:
        """Hand news over to the loop. Where it is closed, nobody will ever take them: cancel."""
        urgent = any(sequence.just_answered for sequence in sequences)
        with self._lock:
            self._news.update(dict.fromkeys(sequences))
            if self._coming and not urgent and not self._loop.is_closed():
                return
            self._coming = True
        try:
            self._loop.call_soon_threadsafe(self._wake_now if urgent else self._wake_in_time)
        except RuntimeError:
            for sequence in self._taken():
                sequence.cancel()

    def _taken(self) -> list[Sequence]:
        with self._lock:
            news, self._news = self._news, {}
            self._coming = False
        return list(news)

    def _wake_in_time(self) -> None:
        early = self._last + _WAKES_SECONDS - self._loop.time()
        if early > 0:
            self._loop.call_later(early, self._wake_now)
        else:
            self._wake_now()

    def _wake_now(self) -> None:
        news = self._taken()
        if news:
            self._last = self._loop.time()
        for sequence in news:
            future = self._waiting.pop(sequence, None)
            if future is not None and not future.done():
                future.set_result(None)

    async def wait(self, sequence: Sequence) -> None:
        """Return when the engine has told of something new in a sequence."""
        if sequence in self._waiting:
            raise RuntimeError("another task waits for this stream already")
        future = self._waiting[sequence] = self._loop.create_future()
        try:
            await future
        finally:
            if self._waiting.get(sequence) is future:
                del self._waiting[sequence]


_WAKERS: WeakValueDictionary[int, LoopWaker] = WeakValueDictionary()  # by loop, which lives as long as its waker


def _waker(loop: asyncio.AbstractEventLoop) -> LoopWaker:
    waker = _WAKERS.get(id(loop))
    if waker is None:
        waker = _WAKERS[id(loop)] = LoopWaker(loop)
    return waker
