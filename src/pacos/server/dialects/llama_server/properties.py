"""llama-server's properties."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos import __version__
from pacos.server.call import Call
from pacos.server.dialects.llama_server import shapes
from pacos.server.fields import Fields
from pacos.server.problem import RequestError
from pacos.server.slots import Slots
from pacos.server.stream import json_response


class Adapter(Fields):
    """How strongly an adapter acts."""

    id: int
    scale: float


class Properties(msgspec.Struct):
    """What a client may want to know before it asks."""

    default_generation_settings: dict[str, Any]
    total_slots: int
    model_alias: str
    model_path: str
    chat_template: str
    bos_token: str
    eos_token: str
    modalities: dict[str, bool]
    build_info: str
    is_sleeping: bool = False


async def run(call: Call[None]) -> ASGIApp:
    """Tell the properties of the first model, or of the one that the query names."""
    resident = await call.resident(call.request.query_params.get("model"))
    llm, tokenizer = resident.llm, resident.llm.tokenizer
    settings = shapes.generation_settings(dict(resident.spec.defaults), llm, resident.name)
    bos, eos = (tokenizer.token_text(one) if one is not None else "" for one in (tokenizer.bos, tokenizer.eos))
    found = Properties(
        default_generation_settings={"n_ctx": settings.pop("n_ctx"), "params": settings},
        total_slots=len(Slots.of(resident).all),
        model_alias=resident.name,
        model_path=llm.path.name,  # where it lies is nobody's business
        chat_template=llm.template.source if llm.has_chat_template else "",
        bos_token=bos,
        eos_token=eos,
        modalities={"vision": False, "audio": False},
        build_info=f"pacos {__version__}",
    )
    return json_response(call, found)


async def adapters(call: Call[None]) -> ASGIApp:
    """The adapters that are loaded: none."""
    return json_response(call, [])


async def set_adapters(call: Call[list[Adapter]]) -> ASGIApp:
    """Set the scales of adapters. Errors: RequestError, as there are none."""
    for one in call.body:
        raise RequestError(f"there is no adapter {one.id}", field="id", code="invalid_value", hint="none can be loaded")
    return json_response(call, {"success": True})
