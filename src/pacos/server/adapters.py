"""Adapters as requests name them."""

from __future__ import annotations

from collections.abc import Sequence

from pacos.llm import LLM
from pacos.server.fields import Fields
from pacos.server.problem import RequestError
from pacos.settings import ADAPTER_SCALE_MAX


class Adapter(Fields):
    """How strongly an adapter acts."""

    id: int
    scale: float


def scales_of(wanted: Sequence[Adapter], llm: LLM) -> tuple[float, ...]:
    """One scale for each adapter of a model, 0 for those not named. Errors: RequestError for an unknown one."""
    found = [0.0] * len(llm.adapters)
    for one in wanted:
        if not 0 <= one.id < len(found):
            hint = f"there are {len(found)}, numbered from 0" if found else "start the server with --lora FILE"
            raise RequestError(f"there is no adapter {one.id}", field="id", code="invalid_value", hint=hint)
        if not abs(one.scale) <= ADAPTER_SCALE_MAX:
            raise RequestError(f"scale is {one.scale}", field="scale", code="invalid_value", hint="use a number")
        found[one.id] = one.scale
    return tuple(found)
