"""OpenAI's list of models."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.model_file import ModelSpec
from pacos.server.stream import json_response


class Model(msgspec.Struct):
    """A model that is served, open or not; `created` is when it was opened, 0 when it is not."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "pacos"
    aliases: list[str] = []
    loaded: bool = False


class ModelList(msgspec.Struct):
    """The models that are served."""

    data: list[Model]
    object: str = "list"


async def list_models(call: Call[None]) -> ASGIApp:
    """Every model by name."""
    found = [_model(call, spec) for spec in await asyncio.to_thread(call.residency.listed)]
    return json_response(call, ModelList(found))


async def show_model(call: Call[None]) -> ASGIApp:
    """One model. Errors: ModelNotFound."""
    spec = call.residency.spec(call.request.path_params["model"])
    return json_response(call, _model(call, spec))


def _model(call: Call[None], spec: ModelSpec) -> Model:
    resident = call.residency.open.get(spec.name)
    opened = int(resident.opened) if resident is not None else 0
    return Model(spec.name, opened, aliases=list(spec.aliases), loaded=resident is not None)
