"""What the server does now and did in the last minutes, for the page's status view."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos import __version__
from pacos.hub.drawing import drawing
from pacos.server import recent
from pacos.server.call import Call
from pacos.server.problem import RequestError
from pacos.server.residency import Resident
from pacos.server.slots import Slots
from pacos.server.stream import json_response

_SEQUENCES_SHOWN = 100


class SequenceState(msgspec.Struct):
    """A sequence that is being answered; `place` is its place in the queue, 0 once it started. Units: tokens."""

    slot: int
    place: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    tokens_per_second: float


class ModelState(msgspec.Struct):
    """An open model: its engine's numbers since it was opened, and its sequences where they may be shown."""

    name: str
    bytes: int
    context_tokens: int
    opened: int
    closes_seconds: float | None
    users: int
    running: int
    waiting: int
    page_tokens: int
    pages: int
    pages_held: int
    pages_cached: int
    pages_free: int
    tokens_generated: int
    tokens_computed: int
    tokens_reused: int
    preemptions: int
    stalled_seconds: float
    sequences: list[SequenceState]


class Memory(msgspec.Struct):
    """Bytes: of this process with the files that it has mapped, of the machine, and the server's own limit, 0: none."""

    process: int
    machine: int
    available: int
    limit: int


class Status(msgspec.Struct):
    """The server now, and a row of numbers for each second since `?since=`, by column.

    `first_token` and `between_tokens` tell the count and percentiles of the last minutes, in seconds.
    """

    version: str
    time: float
    uptime_seconds: float
    cores: int
    requests: int
    draining: bool
    memory: Memory
    models: list[ModelState]
    loading: list[dict[str, Any]]
    first_token: dict[str, float | int]
    between_tokens: dict[str, float | int]
    history_seconds: int
    history: dict[str, list[Any]]


async def run(call: Call[None]) -> ASGIApp:
    """Tell how the server is. Errors: RequestError for a `since` that is no time."""
    text = call.request.query_params.get("since", "0")
    try:
        since = float(text)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        hint = "use the last time that you have"
        raise RequestError(f"since is {text[:40]!a}", field="since", code="invalid_value", hint=hint)
    seen, state = call.metrics.recent, call.request.app.state
    machine, available = recent.machine_bytes()
    began = time.monotonic() - recent.KEPT_SECONDS
    found = Status(
        version=__version__,
        time=round(time.time(), 3),
        uptime_seconds=round(seen.uptime_seconds, 3),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        requests=state.requests.running,
        draining=state.requests.draining,
        memory=Memory(recent.resident_bytes(), machine, available, call.residency.memory_bytes),
        models=[_model(call, one) for one in list(call.residency.open.values())],
        loading=call.residency.progress()["loading"],
        first_token=recent.percentiles(seen.first_token.since(began)),
        between_tokens=recent.percentiles(seen.between_tokens.since(began)),
        history_seconds=recent.KEPT_SECONDS,
        history=seen.columns(since),
    )
    return json_response(call, found)


def _model(call: Call[None], resident: Resident) -> ModelState:
    seen = resident.llm.engine.statistics()
    left = None if resident.expires is None else max(0.0, round(resident.expires - time.monotonic(), 3))
    return ModelState(
        name=resident.name,
        bytes=resident.bytes,
        context_tokens=seen.context_tokens,
        opened=int(resident.opened),
        closes_seconds=None if resident.users else left,
        users=resident.users,
        running=seen.running,
        waiting=seen.waiting,
        page_tokens=seen.page_tokens,
        pages=seen.pages,
        pages_held=seen.pages_held,
        pages_cached=seen.pages_cached,
        pages_free=seen.pages_free,
        tokens_generated=seen.tokens_generated,
        tokens_computed=seen.tokens_computed,
        tokens_reused=seen.tokens_reused,
        preemptions=seen.preemptions,
        stalled_seconds=round(seen.stalled_seconds, 3),
        sequences=_sequences(resident) if call.options.slots else [],
    )


def _sequences(resident: Resident) -> list[SequenceState]:
    found = []
    for slot in Slots.of(resident).all:
        for answer in slot.running:
            cost = answer.timings()
            rate = round(cost.generate_rate, 2)
            tokens = (len(answer.prompt_token_ids), cost.cached_tokens, cost.generated_tokens)
            found.append(SequenceState(slot.id, answer.queue_position, *tokens, rate))
    return found[:_SEQUENCES_SHOWN]


class Drawing(msgspec.Struct):
    """The plan of a model: its parts in order, with equal layers folded into one.

    `layers` of a part are the numbers of the layers that are alike, empty before and after all of them; its bytes and
    parameters count one of them. An operation names the weights that it reads. `cache` is what one token takes.
    """

    model: str
    architecture: str | None
    bytes: int
    parameters: int
    tensors: int
    bits_per_weight: float
    types: dict[str, dict[str, int]]
    parts: list[dict[str, Any]]
    unused: dict[str, int]
    cache: dict[str, Any] | None
    file_type: str | None = None


async def plan(call: Call[None]) -> ASGIApp:
    """Tell the plan of a model for a drawing: of the first, or of the one that the query names, which is opened."""
    resident = await call.resident(call.request.query_params.get("model"))
    llm = resident.llm
    found = await call.in_thread(lambda: drawing(llm.archive, llm.engine.pages.layout))
    return json_response(call, Drawing(model=resident.name, **found))
