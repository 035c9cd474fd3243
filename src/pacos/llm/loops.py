"""Event loops as consumers: the engine's thread wakes each once a step, for all sequences that the loop waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import asyncio

    from pacos.engine.sequence import Sequence


async def news(sequence: Sequence) -> None:
    """Return when a sequence has something to take; no thread waits for it."""
    import asyncio

    waker = _waker(asyncio.get_running_loop())
    sequence.listener = waker  # before the look below: what comes after it is told
    if not sequence.ready:
        await waker.wait(sequence)


class LoopWaker:
    """Wakes the tasks of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Sequence, asyncio.Future[None]] = {}

    def notify(self, sequences: list[Sequence]) -> None:
        """Hand news over to the loop. Where it is closed, nobody will ever take them: cancel."""
        try:
            self._loop.call_soon_threadsafe(self._wake, sequences)
        except RuntimeError:
            for sequence in sequences:
                sequence.cancel()

    def _wake(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
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
