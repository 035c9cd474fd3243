"""llama-server's streams that a client may come back to: read again, looked up, stopped."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.fields import Fields
from pacos.server.problem import RequestError
from pacos.server.replay import Replay, Replays
from pacos.server.stream import json_response, server_sent_events

NAMES_MAX = 1024


class Lookup(Fields):
    """The conversations whose streams a client wants to know of."""

    conversation_ids: list[str]


class StreamState(msgspec.Struct):
    """A stream that is kept. Units: bytes, seconds since 1970."""

    conversation_id: str
    is_done: bool
    total_bytes: int
    started_at: int


async def read(call: Call[None]) -> ASGIApp:
    """A stream from byte `from` on. Errors: RequestError 404 for none, 400 for bytes that are no longer kept."""
    name, start = _name(call), call.request.query_params.get("from", "0")
    found = Replays.of(call).find(call.owner, name)
    if found is None:
        raise RequestError(f"no stream of the conversation {name[:80]!a}", status=404, code="not_found")
    if not (start.isascii() and start.isdecimal() and len(start) < 16) or int(start) < found.dropped:
        hint = f"bytes from {found.dropped} on are kept"
        raise RequestError(f"from is {start[:40]!a}", field="from", code="invalid_value", hint=hint)
    return server_sent_events(call, found.read(int(start)))


async def lookup(call: Call[Lookup]) -> ASGIApp:
    """Which of these conversations have a stream. Errors: RequestError."""
    names = call.body.conversation_ids
    if len(names) > NAMES_MAX:
        hint = f"send up to {NAMES_MAX}"
        raise RequestError(f"there are {len(names)} ids", field="conversation_ids", code="invalid_value", hint=hint)
    kept = ((name, Replays.of(call).find(call.owner, name)) for name in names)
    return json_response(call, [_state(name, one) for name, one in kept if one is not None])


def _state(name: str, one: Replay) -> StreamState:
    return StreamState(name, one.ended is not None, one.dropped + len(one.data), int(one.began))


async def stop(call: Call[None]) -> ASGIApp:
    """End a stream, if there is one."""
    Replays.of(call).stop(call.owner, _name(call))
    return json_response(call, {"success": True})


def _name(call: Call[None]) -> str:
    name = call.request.query_params.get("conv_id", "")
    if not name:
        raise RequestError("conv_id is missing", field="conv_id", code="missing_field")
    return name
