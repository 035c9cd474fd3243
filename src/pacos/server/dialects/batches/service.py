"""The files and batches of one server: opened at the first use, or at the start when there are some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pacos.log import logger
from pacos.server.call import Call
from pacos.server.dialects import Parts
from pacos.server.dialects.batches.asking import Asker
from pacos.server.dialects.batches.runner import Runner
from pacos.server.dialects.batches.store import Store
from pacos.server.problem import RequestError
from pacos.settings.places import state_folder


class Service:
    """What is behind the operations."""

    def __init__(self, parts: Parts) -> None:
        self.folder = state_folder() / "batches"
        self._parts = parts
        self._opening = asyncio.Lock()
        self._opened: tuple[Store, Runner] | None = None

    async def opened(self) -> tuple[Store, Runner]:
        """The store, and what runs its batches. Errors: as Store."""
        async with self._opening:
            if self._opened is None:
                store = await asyncio.to_thread(Store, self.folder)
                self._opened = store, Runner(store, Asker(self._parts))
                for kept in store.batches.values():
                    if not kept.ended:
                        self._opened[1].begin(kept)
            return self._opened

    async def close(self) -> None:
        """Leave batches for the next server."""
        if self._opened is not None:
            store, runner = self._opened
            await runner.close()
            store.close()


async def opened(call: Call[Any]) -> tuple[Store, Runner]:
    """The store and the runner of the server that a call came to."""
    service: Service = call.request.app.state.batches
    return await service.opened()


@asynccontextmanager
async def background(parts: Parts) -> AsyncIterator[None]:
    """Go on with batches that an earlier server left, while this one runs."""
    service = parts.app.state.batches = Service(parts)
    if service.folder.exists():
        try:
            await service.opened()
        except RequestError as error:
            logger(__name__).warning("batches are not gone on with: %s", error)
    try:
        yield
    finally:
        await service.close()
