"""llama-server's properties."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos import __version__
from pacos.server.adapters import Adapter, scales_of
from pacos.server.call import Call
from pacos.server.dialects.llama_server import shapes
from pacos.server.slots import Slots
from pacos.server.stream import json_response


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
    """The adapters of the first model, or of the one that the query names, in the order of their numbers."""
    llm = (await call.resident(call.request.query_params.get("model"))).llm
    scales = llm.engine.adapters.now
    return json_response(call, [_adapter(i, one.path.name, scales[i]) for i, one in enumerate(llm.adapters)])


def _adapter(number: int, name: str, scale: float) -> dict[str, Any]:
    return {"id": number, "path": name, "scale": scale, "task_name": "", "prompt_prefix": ""}


async def set_adapters(call: Call[list[Adapter]]) -> ASGIApp:
    """Set the scales of adapters for answers to come; those not named get 0. Errors: RequestError for unknown ones."""
    llm = (await call.resident(call.request.query_params.get("model"))).llm
    if scales := scales_of(call.body, llm):
        llm.engine.adapters.set(scales)
    return json_response(call, {"success": True})
