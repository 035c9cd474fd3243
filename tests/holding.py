"""Hold an engine back, so that what a test submits starts together, however slow the machine is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pacos.engine.engine import Engine


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """The engine's thread computes nothing inside; what is submitted waits in line."""
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        holding.set()
        release.wait()

    asking = threading.Thread(target=engine._errands.ask, args=[hold])
    asking.start()
    try:
        holding.wait()
        yield
    finally:
        release.set()
        asking.join()
