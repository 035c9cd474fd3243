"""Work that other threads have the engine's thread do between two steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Errands:
    """A line of short pieces of work; `wake` says that there is one more."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closed: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, or raises, once the engine's thread has done it; not on that thread.

        Errors: what the line was closed with.
        """
        done: Future[Result] = Future()
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._waiting.append((work, done))
        self._wake()
        return done.result()

    def run(self) -> None:
        """Do what waits. On the engine's thread."""
        while self._waiting:
            work, done = self._waiting.popleft()
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                done.set_exception(error)

    def close(self, reason: BaseException) -> None:
        """Do nothing more; who waits, or asks later, gets the reason."""
        with self._lock:
            self._closed = reason
            left = [*self._waiting]
            self._waiting.clear()
        for _, done in left:
            done.set_exception(reason)
