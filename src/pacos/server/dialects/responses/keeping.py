"""Responses that were given, kept so that a request can go on from them: in memory, the latest ones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.responses.reply import Response
from pacos.server.problem import RequestError
from pacos.server.stream import json_bytes, json_response

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
    """The latest responses of one server, bounded by number and by size."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def of(call: Call[Any]) -> Keeper:
        """The keeper of the server that a call came to."""
        state = call.request.app.state
        if not hasattr(state, "responses"):
            state.responses = Keeper()
        keeper: Keeper = state.responses
        return keeper

    def keep(self, response: Response, inputs: list[dict[str, Any]], owner: str) -> None:
        """Keep a response; the oldest ones give way."""
        size = len(json_bytes(response)) + len(json_bytes(inputs))
        self._kept[response.id] = Kept(response, inputs, owner, size)
        self._bytes += size
        while len(self._kept) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            self._bytes -= self._kept.popitem(last=False)[1].bytes

    def find(self, name: str, owner: str, field: str | None = None) -> Kept:
        """A kept response. Errors: RequestError 404 for one that is not there, or another's."""
        kept = self._kept.get(name)
        if kept is None or kept.owner != owner:
            hint = f"the latest {KEPT_MAX} are kept, until the server ends; store must not be false"
            raise RequestError(f"no response {name[:80]!a}", status=404, field=field, code="not_found", hint=hint)
        return kept

    def forget(self, name: str, owner: str) -> None:
        """Let go of a response. Errors: as `find`."""
        self._bytes -= self.find(name, owner).bytes
        del self._kept[name]


def _found(call: Call[None]) -> Kept:
    return Keeper.of(call).find(call.request.path_params["response"], call.owner)


async def show(call: Call[None]) -> ASGIApp:
    """A kept response."""
    return json_response(call, _found(call).response)


async def delete(call: Call[None]) -> ASGIApp:
    """Forget a response."""
    name = call.request.path_params["response"]
    Keeper.of(call).forget(name, call.owner)
    return json_response(call, Deleted(name))


async def inputs(call: Call[None]) -> ASGIApp:
    """What a kept response answered, the latest first."""
    items = list(reversed(_found(call).inputs))
    ids = [one.get("id") for one in items]
    return json_response(call, Items(items, *((ids[0], ids[-1]) if ids else (None, None))))
