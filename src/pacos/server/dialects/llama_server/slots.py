"""llama-server's slots: here, the sequences that are computed together."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.problem import RequestError
from pacos.server.stream import json_response


class Slot(msgspec.Struct):
    """A place for a sequence; any prompt finds what was computed before, whatever its place."""

    id: int
    n_ctx: int
    is_processing: bool
    speculative: bool = False


async def run(call: Call[None]) -> ASGIApp:
    """List the places: busy ones for all running sequences, and free ones up to --parallel.

    Errors: RequestError 503 with `fail_on_no_slot` when none is free or sequences wait.
    """
    query = call.request.query_params
    resident = await call.resident(query.get("model"))
    now = resident.llm.engine.statistics()
    places = max(resident.spec.options.parallel, 1, now.running)
    if query.get("fail_on_no_slot") and (now.running >= places or now.waiting):
        problem = f"no slot is free: {now.running} sequences run, {now.waiting} wait"
        raise RequestError(problem, status=503, code="server_busy")
    found = [Slot(index, now.context_tokens, index < now.running) for index in range(places)]
    return json_response(call, found)


async def act(call: Call[None]) -> ASGIApp:
    """Refuse to save, restore or erase: what was computed belongs to prompts, not to slots."""
    action = call.request.query_params.get("action")
    if action not in ("save", "restore", "erase"):
        problem = f"action is {action!a:.40}"
        raise RequestError(problem, field="action", code="invalid_value", hint="use save, restore or erase")
    problem = f"{action} is not there: what prompts have in common is found again without it"
    raise RequestError(problem, status=501, field="action", code="unsupported")
