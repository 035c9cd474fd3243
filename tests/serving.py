"""Servers for tests: an application without a socket (`client_of`), and the real thing in a process (`served`)."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import httpx
from fake_llm import FakeModels, fake_spec
from patience import SECONDS, until

from pacos.server.app import create_app
from pacos.server.residency import Residency
from pacos.settings.serve import ServeOptions

BASE = "http://127.0.0.1:8080"


@asynccontextmanager
async def client_of(
    residency: Residency | None = None, models: FakeModels | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a served application; by default it serves one fake model."""
    models = models or FakeModels()
    residency = residency or Residency([fake_spec()], open_model=models.open)  # type: ignore[arg-type]
    app = create_app(residency, ServeOptions(**options))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            yield client


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test function of coroutines to its end, without a plugin."""
    import functools
    import inspect

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(_within(test(*given, **named)))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


async def _within(test: Awaitable[None], seconds: float = 4 * SECONDS) -> None:
    async with asyncio.timeout(seconds):
        await test


@contextmanager
def served(
    *arguments: str, port: int = 0, command: str = "serve", environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """`pacos serve`, or `pacos api`, in a process of its own, on a free port, until the block ends."""
    line = [sys.executable, "-m", "pacos", command, *arguments]
    if not any(argument == "--host" and after.endswith(".sock") for argument, after in pairwise(arguments)):
        line += ["--port", str(port)]
    process = subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    server = Server(process)
    try:
        server.wait_until_listening()
        yield server
    finally:
        server.end()


class Server:
    """A running server: its address, its process, and what it logged so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = ""
        self.log: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if found := re.search(r"listening on (\S+)", line):
                self.url = found[1].rstrip('",')
                self._listening.set()
        self._listening.set()

    def wait_until_listening(self) -> None:
        assert self._listening.wait(SECONDS), "the server did not start"
        assert self.url, "\n".join(self.log)

    def wait_until_ready(self) -> None:
        until(lambda: httpx.get(f"{self.url}/health").status_code == 200, every=0.05)

    def wait_for(self, words: str) -> None:
        """Until it logs these words."""
        until(lambda: any(words in line for line in list(self.log)))

    def wait(self) -> int:
        """The exit code, once it ended."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
