"""OpenAI's files: upload, list, read, delete."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import FileResponse
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects.batches.pages import page
from pacos.server.dialects.batches.service import opened
from pacos.server.dialects.batches.shapes import KEPT_SECONDS, Deleted
from pacos.server.dialects.batches.store import FILE_BYTES_MAX
from pacos.server.guard import body_pieces
from pacos.server.problem import RequestError
from pacos.server.stream import json_response

PURPOSES = ("batch", "assistants", "fine-tune", "vision", "user_data", "evals")
_FIELDS = {"file", "purpose", "expires_after[anchor]", "expires_after[seconds]"}
_ENVELOPE_BYTES = 64 << 10


async def upload(call: Call[None]) -> ASGIApp:
    """Keep a file that is sent as multipart/form-data, with `file` and `purpose`."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        hint = "send multipart/form-data with file and purpose"
        raise RequestError(f"the body's type is {kind[:80]!a}", status=415, code="unsupported_media_type", hint=hint)
    store, _ = await opened(call)
    source: AsyncGenerator[bytes, None] = body_pieces(call.request, call.options, FILE_BYTES_MAX + _ENVELOPE_BYTES)
    parser = MultiPartParser(
        call.request.headers, source, max_files=1, max_fields=len(_FIELDS), max_part_size=_ENVELOPE_BYTES
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise RequestError(f"the body is no form: {error}", code="invalid_form") from None
    call.body_read = True
    call.cleanup.push_async_callback(form.close)
    file, purpose, seconds = _fields(form)
    name = (file.filename or "file").rpartition("/")[2].rpartition("\\")[2][:255]
    kept = await call.in_thread(lambda: store.add(file.file, name, purpose, call.owner, seconds))
    return json_response(call, kept)


def _fields(form: Mapping[str, Any]) -> tuple[UploadFile, str, int | None]:
    for name in form:
        if name not in _FIELDS:
            raise RequestError(f"unknown field {name[:80]}", field=name[:80], code="unknown_field")
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        raise RequestError("file is missing", field="file", code="missing_field", hint="send it with a file name")
    if purpose not in PURPOSES:
        hint = f"use {', '.join(PURPOSES)}"
        raise RequestError(f"purpose is {purpose!a:.60}", field="purpose", code="invalid_value", hint=hint)
    if not 1 <= (file.size or 0) <= FILE_BYTES_MAX:
        hint = f"send 1 to {FILE_BYTES_MAX}"
        raise RequestError(f"file has {file.size} bytes", field="file", code="invalid_value", hint=hint)
    anchor, text = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and text is None:
        return file, purpose, None
    if anchor != "created_at" or not isinstance(text, str) or not text.isascii() or not text.isdecimal():
        hint = "give anchor (created_at) and seconds"
        raise RequestError("expires_after is wrong", field="expires_after", code="invalid_value", hint=hint)
    return file, purpose, check_seconds(int(text[:10]), "expires_after")


def check_seconds(seconds: int, field: str) -> int:
    """How long a file is kept. Errors: RequestError."""
    least, most = KEPT_SECONDS
    if not least <= seconds <= most:
        problem, hint = f"{field}.seconds is {seconds}", f"use {least} to {most}"
        raise RequestError(problem, field=f"{field}.seconds", code="invalid_value", hint=hint)
    return seconds


async def list_files(call: Call[None]) -> ASGIApp:
    """List files, the latest first; the query may name a `purpose`."""
    store, _ = await opened(call)
    query = call.request.query_params
    found = await call.in_thread(lambda: store.files(call.owner))
    if (purpose := query.get("purpose")) is not None:
        found = [file for file in found if file.purpose == purpose]
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise RequestError(f"order is {order[:40]!a}", field="order", code="invalid_value", hint="use asc or desc")
    return page(call, found if order == "desc" else found[::-1], limit=10_000, most=10_000)


async def show(call: Call[None]) -> ASGIApp:
    """Describe a file."""
    store, _ = await opened(call)
    return json_response(call, store.file(call.request.path_params["file"], call.owner))


async def content(call: Call[None]) -> ASGIApp:
    """Give a file's content."""
    store, _ = await opened(call)
    file = store.file(call.request.path_params["file"], call.owner)
    return FileResponse(
        store.path(file.id), headers=call.headers, media_type="application/octet-stream", filename=file.filename
    )


async def delete(call: Call[None]) -> ASGIApp:
    """Delete a file."""
    store, _ = await opened(call)
    name = call.request.path_params["file"]
    await call.in_thread(lambda: store.delete(name, call.owner))
    return json_response(call, Deleted(name))
