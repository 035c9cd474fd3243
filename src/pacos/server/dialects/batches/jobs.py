"""OpenAI's batches: begin, list, look, cancel."""

from __future__ import annotations

import re

from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.batches.files import check_seconds
from pacos.server.dialects.batches.pages import page
from pacos.server.dialects.batches.service import opened
from pacos.server.dialects.batches.shapes import Batch, BatchRequest, KeptBatch, new_id, now
from pacos.server.problem import RequestError
from pacos.server.stream import json_response

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WINDOW_SECONDS_MAX = 30 * 86400


async def create(call: Call[BatchRequest]) -> ASGIApp:
    """Begin a batch."""
    body = call.body
    seconds = _window_seconds(body.completion_window)
    kept_seconds = None
    if body.output_expires_after is not None:
        kept_seconds = check_seconds(body.output_expires_after.seconds, "output_expires_after")
    store, runner = await opened(call)
    file = store.file(body.input_file_id, call.owner, "input_file_id")
    if file.purpose != "batch":
        problem = f"input_file_id is a file for {file.purpose}"
        raise RequestError(problem, field="input_file_id", code="invalid_value", hint="upload it with purpose batch")
    batch = Batch(
        id=new_id("batch_"),
        endpoint=body.endpoint,
        input_file_id=file.id,
        completion_window=body.completion_window,
        status="validating",
        created_at=now(),
        expires_at=now() + seconds,
        metadata=body.metadata,
    )
    kept = KeptBatch(batch, call.owner, new_id("file-"), new_id("file-"), kept_seconds)
    await call.in_thread(lambda: store.add_batch(kept))
    runner.begin(kept)
    return json_response(call, batch)


def _window_seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= _WINDOW_SECONDS_MAX:
        problem = f"completion_window is {text[:40]!a}"
        raise RequestError(problem, field="completion_window", code="invalid_value", hint='use "24h", at most "30d"')
    return seconds


async def list_batches(call: Call[None]) -> ASGIApp:
    """List batches, the latest first."""
    store, _ = await opened(call)
    found = await call.in_thread(lambda: store.owned_batches(call.owner))
    return page(call, found, limit=20, most=100)


async def show(call: Call[None]) -> ASGIApp:
    """Tell how far a batch is."""
    store, _ = await opened(call)
    return json_response(call, store.batch(call.request.path_params["batch"], call.owner).batch)


async def cancel(call: Call[None]) -> ASGIApp:
    """Cancel a batch; what it has answered stays."""
    store, runner = await opened(call)
    kept = store.batch(call.request.path_params["batch"], call.owner)
    if kept.batch.status == "cancelling":
        return json_response(call, kept.batch)
    if kept.ended or kept.ending is not None:
        raise RequestError(f"the batch is {kept.batch.status}", status=409, code="batch_ended")
    await runner.cancel(kept)
    return json_response(call, kept.batch)
