"""Open and close models before and after anybody asks them, as llama-server's router does."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.fields import Fields
from pacos.server.problem import RequestError
from pacos.server.stream import json_response


class Named(Fields):
    """The name of a model."""

    model: str


class Done(msgspec.Struct):
    """It is done."""

    success: bool = True


async def load(call: Call[Named]) -> ASGIApp:
    """Open a model, and answer once it is open. Errors: ModelNotFound, CapacityError, what opening raises."""
    await call.resident(call.body.model, opens=True)
    return json_response(call, Done())


async def unload(call: Call[Named]) -> ASGIApp:
    """Close a model. Errors: ModelNotFound; RequestError 400 when it is not open, 409 when somebody uses it."""
    name = call.residency.spec(call.body.model).name
    if name in call.residency.asleep:
        call.residency.asleep.discard(name)
        return json_response(call, Done())
    if name not in call.residency.open:
        raise RequestError(f"model {name!a} is not loaded", field="model", code="not_loaded")
    if not await call.residency.shut(name):
        hint = "try again when its answers have ended"
        raise RequestError(f"model {name!a} is in use", status=409, field="model", code="in_use", hint=hint)
    return json_response(call, Done())
