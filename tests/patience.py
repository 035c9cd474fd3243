"""How long a test waits for what must come, on machines that are slow or do much else: it ends as soon as it came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

SECONDS = 60.0


def until(true: Callable[[], object], *, every: float = 0.005) -> None:
    """Wait until that is true; what never becomes true fails the test."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited {SECONDS:g} s in vain"
        time.sleep(every)


async def soon(true: Callable[[], object], *, every: float = 0.001) -> None:
    """Let the event loop run until that is true."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited {SECONDS:g} s in vain"
        await asyncio.sleep(every)
