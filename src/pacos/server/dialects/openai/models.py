"""OpenAI's list of models, with what llama-server's says beside it: whether each is open."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.model_file import ModelSpec
from pacos.server.stream import json_response


class ModelStatus(msgspec.Struct, omit_defaults=True):
    """Whether a model is open: `value` is loaded, loading, sleeping or unloaded, `error` is why."""

    value: str
    failed: bool = False
    error: str | None = None


class ModelFacts(msgspec.Struct):
    """What is known of an open model: the context of one sequence, and what it takes."""

    context_tokens: int
    bytes: int


class Model(msgspec.Struct, kw_only=True):
    """A model that is served, open or not; `created` is when it was opened, 0 when it is not."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "pacos"
    aliases: list[str] = []
    loaded: bool = False
    status: ModelStatus
    facts: ModelFacts | None = None


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
    return Model(
        id=spec.name,
        created=int(resident.opened) if resident is not None else 0,
        aliases=list(spec.aliases),
        loaded=resident is not None,
        status=_status(call, spec),
        facts=ModelFacts(resident.llm.context_tokens, resident.bytes) if resident is not None else None,
    )


def _status(call: Call[None], spec: ModelSpec) -> ModelStatus:
    if spec.name in call.residency.open:
        return ModelStatus("loaded")
    if spec.name in call.residency.loading:
        return ModelStatus("loading")
    if spec.name in call.residency.asleep:
        return ModelStatus("sleeping")
    problem = call.residency.failed.get(spec.name)
    return ModelStatus("unloaded", problem is not None, problem)
