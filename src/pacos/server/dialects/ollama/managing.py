"""Ollama's operations on the store: pull, create, copy, delete. Requests carry names alone, never paths."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from pacos.errors import Cancelled, UsageError
from pacos.hub import naming, upkeep
from pacos.hub.modelfile import Modelfile, entry_from, read_modelfile
from pacos.hub.ollama_registry import OllamaPull
from pacos.hub.pull import HubPull, Progress, Wish
from pacos.hub.spelling import HUB_STARTS, hub_name
from pacos.server.call import Call
from pacos.server.fields import Fields
from pacos.server.guard import is_loopback
from pacos.server.problem import RequestError
from pacos.server.stream import json_lines, json_response, line

_TELL_SECONDS = 0.1


class PullRequest(Fields):
    """Which model to download."""

    model: str | None = None
    name: str | None = None
    insecure: bool | None = None
    username: str | None = None
    password: str | None = None
    stream: bool | None = None


class CopyRequest(Fields):
    """A model, and its second name."""

    source: str
    destination: str


class DeleteRequest(Fields):
    """Which model to remove."""

    model: str | None = None
    name: str | None = None


class CreateRequest(Fields):
    """A model under a name with defaults of its own; `from` is the model, or `modelfile` says everything."""

    model: str | None = None
    name: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    modelfile: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | list[str] | None = None
    parameters: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    quantize: str | None = None
    stream: bool | None = None


class Status(msgspec.Struct, omit_defaults=True):
    """How far it is."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None


def _checked(call: Call[Any]) -> None:
    """Only who may manage the store. Errors: RequestError."""
    if call.residency.shelf is None:
        raise RequestError("this server does not offer its store", status=403, hint="start it without --no-store")
    if not is_loopback(call.options.host) and not call.owner:
        raise RequestError("the store is managed with an API key alone", status=403, hint="start the server with one")


def _name(body: Any) -> str:
    name = body.model or body.name
    if not name:
        raise RequestError("model is missing", field="model", code="missing_field")
    return str(name)


async def copy_model(call: Call[CopyRequest]) -> ASGIApp:
    """Give a model a second name. Errors: ModelNotFound."""
    _checked(call)
    body = call.body
    spec = call.residency.spec(body.source.removesuffix(":latest"))
    await asyncio.to_thread(naming.copy, spec.path, body.destination.removesuffix(":latest"), replace=True)
    await _forget(call, body.destination)
    return Response(status_code=200, headers=call.headers)


async def delete(call: Call[DeleteRequest]) -> ASGIApp:
    """Remove a model. Errors: ModelNotFound; RequestError 403 for one that is not of the store, 409 for one in use."""
    _checked(call)
    name = _name(call.body)
    spec = call.residency.spec(name.removesuffix(":latest"))
    if spec.name in call.residency.specs:
        raise RequestError(f"{spec.name} is not of the store", status=403, hint="the server was started with it")
    resident = call.residency.open.get(spec.name)
    if resident is not None and resident.users:
        raise RequestError(f"{spec.name} is in use", status=409, hint="try again when its answers have ended")
    await _forget(call, spec.name)
    try:
        await asyncio.to_thread(upkeep.remove, spec.name)
    except UsageError as error:
        raise RequestError(error.message, status=409, hint=error.hint) from None
    return Response(status_code=200, headers=call.headers)


async def _forget(call: Call[Any], name: str) -> None:
    """Close an open model whose meaning changes; one in use when its answers have ended."""
    if not await call.residency.shut(name) and (resident := call.residency.open.get(name)) is not None:
        call.residency.keep(resident, 0)


async def create(call: Call[CreateRequest]) -> ASGIApp:
    """Give a model a name with defaults of its own. Errors: UsageError, ModelNotFound, UnsupportedModel."""
    _checked(call)
    body, name = call.body, _name(call.body).removesuffix(":latest")
    for field in ("files", "adapters", "quantize"):
        if getattr(body, field):
            problem = f"{field} cannot be used here"
            raise RequestError(problem, field=field, code="invalid_value", hint="import the file with `pacos import`")

    def work() -> None:
        entry, _ = entry_from(name, _modelfile(body), None)
        naming.create(entry)

    await asyncio.to_thread(work)
    await _forget(call, name)
    return _told(call, [Status("reading model metadata"), Status("writing manifest"), Status("success")])


def _modelfile(body: CreateRequest) -> Modelfile:
    said = read_modelfile(body.modelfile) if body.modelfile else Modelfile()
    if body.from_ is not None:
        said.model = body.from_
    said.model = said.model.removesuffix(":latest")
    if not said.model:
        raise RequestError("from is missing", field="from", code="missing_field")
    said.template = body.template or said.template
    said.system = body.system or said.system
    for name, value in (body.parameters or {}).items():
        said.parameters.append((name, value))
    licences = [body.license] if isinstance(body.license, str) else body.license or []
    said.licence = "\n\n".join(licences) or said.licence
    for one in body.messages or []:
        if not isinstance(one.get("content"), str) or one.get("role") not in ("system", "user", "assistant"):
            raise RequestError("messages holds what is no message", field="messages", code="invalid_value")
        said.messages.append({"role": one["role"], "content": one["content"]})
    return said


def _told(call: Call[Any], found: list[Status]) -> ASGIApp:
    if call.body.stream is False:
        return json_response(call, found[-1])

    async def pieces() -> AsyncIterator[bytes]:
        for one in found:
            yield line(one)

    return json_lines(call, pieces())


async def pull(call: Call[PullRequest]) -> ASGIApp:
    """Download a model, telling how far it is; a client that leaves ends it, and the next one goes on from there.

    Errors: RequestError for a name that is none; within the stream what the download raises.
    """
    _checked(call)
    body = call.body
    if body.insecure or body.username or body.password:
        field = "insecure" if body.insecure else "username"
        raise RequestError(f"{field} cannot be used", field=field, code="invalid_value", hint="drop it")
    work = _pulling(_name(body))
    if body.stream is False:
        async for _ in _statuses(work):
            pass
        return json_response(call, Status("success"))

    async def pieces() -> AsyncIterator[bytes]:
        async for one in _statuses(work):
            yield line(one)
        yield line(Status("success"))

    return json_lines(call, pieces())


def _pulling(text: str) -> Callable[[Progress], object]:
    """What downloads a model: of the hub where the name says so, else of the registry. Errors: RequestError."""
    start = next((one for one in HUB_STARTS if text.startswith(one)), None)
    if start is None:
        if "://" in text or text.count("/") > 1 or ("." in text.partition("/")[0] and "/" in text):
            problem = f"{text[:100]!a} names another machine"
            raise RequestError(problem, field="model", code="invalid_value", hint="give NAME:TAG, or hf.co/ORG/NAME")
        return lambda progress: OllamaPull(text).run(progress)
    wanted = hub_name(text)
    if wanted is None:
        hint = "give hf.co/ORG/NAME:QUANT"
        raise RequestError(f"{text[:100]!a} is no repository", field="model", code="invalid_value", hint=hint)
    return lambda progress: HubPull(wanted, Wish()).run(progress)


async def _statuses(work: Callable[[Progress], object]) -> AsyncIterator[Status]:
    """How far a download is, until it ends; nobody listening any more ends it."""
    left = threading.Event()
    told: dict[str, Status] = {}

    def progress(step: str, done: int, total: int) -> None:
        if left.is_set():
            raise Cancelled("nobody waits for the download any more")
        digest = step.replace("sha256-", "sha256:")
        told["now"] = Status(f"pulling {digest.removeprefix('sha256:')[:12]}", digest, total, done)

    yield Status("pulling manifest")
    task = asyncio.ensure_future(asyncio.to_thread(work, progress))
    last: Status | None = None
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_TELL_SECONDS)
            if (now := told.get("now")) is not None and now != last:
                last = now
                yield now
        task.result()
    finally:
        left.set()
        if not task.done():
            await asyncio.gather(task, return_exceptions=True)
    yield Status("verifying sha256 digest")
    yield Status("writing manifest")
