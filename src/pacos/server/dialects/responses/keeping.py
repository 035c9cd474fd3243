"""Responses that were given, kept so that a request can go on from them: the latest ones, in memory or in a folder."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import ASGIApp

from pacos.log import logger
from pacos.server.call import Call
from pacos.server.dialects.responses.folder import ResponseFolder
from pacos.server.dialects.responses.reply import Response
from pacos.server.problem import RequestError
from pacos.server.stream import json_bytes, json_response

if TYPE_CHECKING:
    from pacos.server.dialects import Parts

KEPT_MAX = 4096
KEPT_BYTES_MAX = 256 << 20


class Deleted(msgspec.Struct):
    """A response that was forgotten."""

    id: str
    object: str = "response"
    deleted: bool = True


class Items(msgspec.Struct):
    """What a response answered."""

    data: list[Any]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False
    object: str = "list"


@dataclass(frozen=True, slots=True)
class Kept:
    """A response with what it answered, all that came before included, as items; only its owner may see it."""

    response: Response
    inputs: list[dict[str, Any]]
    owner: str
    bytes: int


class Keeper:
    """The latest responses of one server, bounded by number and by size; with a `folder` they outlive it there."""

    def __init__(self, folder: ResponseFolder | None = None) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def of(call: Call[Any]) -> Keeper:
        """The keeper of the server that a call came to."""
        keeper: Keeper = call.request.app.state.responses
        return keeper

    async def keep(self, response: Response, inputs: list[dict[str, Any]], owner: str) -> None:
        """Keep a response; the oldest ones give way. One that the disk does not take says that it is not stored."""
        if self._folder is not None:
            try:
                await asyncio.to_thread(self._folder.write, response, inputs, owner)
            except OSError as error:
                response.store = False
                logger(__name__).error("a response cannot be kept: %s", error)
            return
        size = len(json_bytes(response)) + len(json_bytes(inputs))
        self._kept[response.id] = Kept(response, inputs, owner, size)
        self._bytes += size
        while len(self._kept) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            self._bytes -= self._kept.popitem(last=False)[1].bytes

    async def find(self, name: str, owner: str, field: str | None = None) -> Kept:
        """A kept response. Errors: RequestError 404 for one that is not there, or another's."""
        kept = self._kept.get(name)
        if self._folder is not None:
            found = await asyncio.to_thread(self._folder.read, name, owner)
            kept = None if found is None else Kept(found.response, found.inputs, owner, 0)
        if kept is None or kept.owner != owner:
            hint = f"the latest {KEPT_MAX} are kept, until the server ends; store must not be false"
            hint = hint if self._folder is None else "the latest ones are kept; store must not be false"
            raise RequestError(f"no response {name[:80]!a}", status=404, field=field, code="not_found", hint=hint)
        return kept

    async def forget(self, name: str, owner: str) -> None:
        """Let go of a response. Errors: as `find`."""
        size = (await self.find(name, owner)).bytes
        if self._folder is not None:
            await asyncio.to_thread(self._folder.remove, name, owner)
        elif self._kept.pop(name, None) is not None:
            self._bytes -= size


@asynccontextmanager
async def kept(parts: Parts) -> AsyncIterator[None]:
    """Keep responses while the server runs. Errors: as `ResponseFolder`."""
    folder = parts.options.responses_dir
    parts.app.state.responses = Keeper(await asyncio.to_thread(ResponseFolder, folder) if folder else None)
    yield


async def _found(call: Call[None]) -> Kept:
    return await Keeper.of(call).find(call.request.path_params["response"], call.owner)


async def show(call: Call[None]) -> ASGIApp:
    """A kept response."""
    return json_response(call, (await _found(call)).response)


async def delete(call: Call[None]) -> ASGIApp:
    """Forget a response."""
    name = call.request.path_params["response"]
    await Keeper.of(call).forget(name, call.owner)
    return json_response(call, Deleted(name))


async def inputs(call: Call[None]) -> ASGIApp:
    """What a kept response answered, the latest first."""
    items = list(reversed((await _found(call)).inputs))
    ids = [one.get("id") for one in items]
    return json_response(call, Items(items, *((ids[0], ids[-1]) if ids else (None, None))))
