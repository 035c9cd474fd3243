"""Run an application inside a test: requests go to it without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fake_llm import FakeModels, fake_spec

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


async def _within(test: Awaitable[None], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        await test
