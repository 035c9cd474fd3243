"""Ollama's lists and descriptions of models."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos import __version__
from pacos.errors import ModelError
from pacos.hub.describe import open_any
from pacos.hub.file_types import FILE_TYPE_KEY, file_type_name
from pacos.hub.modelfile import written
from pacos.hub.names import find, resolve
from pacos.log import logger
from pacos.server.call import Call
from pacos.server.dialects.ollama.shapes import model_name
from pacos.server.fields import Fields
from pacos.server.model_file import ModelSpec, file_bytes
from pacos.server.residency import Resident
from pacos.server.stream import json_response

_SCALAR = (str, int, float, bool)
_FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)


class Details(msgspec.Struct):
    """What kind of model it is."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ListedModel(msgspec.Struct, omit_defaults=True):
    """A model; an open one says until when. `digest` names this version of the file, not its content."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    modified_at: str | None = None
    expires_at: str | None = None
    size_vram: int | msgspec.UnsetType = msgspec.UNSET
    context_length: int | None = None


class ModelList(msgspec.Struct):
    """Models."""

    models: list[ListedModel]


class ShowRequest(Fields):
    """Which model to describe."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


class Shown(msgspec.Struct):
    """A model's facts."""

    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    license: str
    modified_at: str


class Version(msgspec.Struct):
    """The version of the server."""

    version: str


async def version(call: Call[None]) -> ASGIApp:
    """The version of the server."""
    return json_response(call, Version(__version__))


async def tags(call: Call[None]) -> ASGIApp:
    """Every model that is served, open or not."""
    return json_response(call, await asyncio.to_thread(lambda: ModelList(list(_all_listed(call)))))


def _all_listed(call: Call[None]) -> Iterator[ListedModel]:
    for spec in call.residency.listed():
        try:
            yield _listed(spec)
        except ModelError as error:  # one file that cannot be read hides no other
            logger(__name__).warning("%s: %s", spec.name, error)


async def running(call: Call[None]) -> ASGIApp:
    """The open models, and until when they stay."""
    residents = list(call.residency.open.values())
    return json_response(call, await asyncio.to_thread(lambda: ModelList([_open(resident) for resident in residents])))


async def show(call: Call[ShowRequest]) -> ASGIApp:
    """A model's facts, read from its file."""
    spec = call.residency.spec(model_name(call.body.model or call.body.name or ""))
    return json_response(call, await asyncio.to_thread(_shown, spec, verbose=bool(call.body.verbose)))


def _facts(spec: ModelSpec) -> tuple[Details, dict[str, Any]]:
    """What kind of model it is, and its metadata, without its tokenizer: that takes too long for a list."""
    path = resolve(spec.path)
    archive, _ = open_any(path)
    try:
        metadata = dict(archive.metadata)
        parameters = sum(math.prod(entry.shape) for entry in archive.tensors.values())
    finally:
        archive.close()
    family = str(metadata.get("general.architecture"))
    kind = metadata.get(FILE_TYPE_KEY)
    level = file_type_name(kind) if kind is not None else "unknown"
    container = "gguf" if path.is_file() else "safetensors"
    return Details("", container, family, [family], _size_label(parameters), level), metadata


def _size_label(parameters: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)


def _listed(spec: ModelSpec) -> ListedModel:
    path = resolve(spec.path)
    changed = path.stat().st_mtime
    size = file_bytes(spec)
    version_text = f"{Path(path).resolve()} {size} {changed}"
    details, _ = _facts(spec)
    return ListedModel(
        name=spec.name,
        model=spec.name,
        size=size,
        digest=hashlib.sha256(version_text.encode()).hexdigest(),
        details=details,
        modified_at=_time(changed),
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _open(resident: Resident) -> ListedModel:
    listed = _listed(resident.spec)
    until = resident.expires
    listed.modified_at = None
    listed.expires_at = _FOR_EVER.isoformat() if until is None else _time(time.time() + until - time.monotonic())
    listed.size_vram = 0
    listed.context_length = resident.llm.context_tokens
    return listed


def _shown(spec: ModelSpec, *, verbose: bool) -> Shown:
    details, metadata = _facts(spec)
    template = metadata.get("tokenizer.chat_template")
    described = {
        key: value if isinstance(value, _SCALAR) else list(value) if verbose else None
        for key, value in metadata.items()
        if key != "tokenizer.chat_template"
    }
    changed = resolve(spec.path).stat().st_mtime
    found = find(spec.path)
    preset = replace(found.preset, options={**found.preset.options, **spec.defaults})
    modelfile = written(replace(found, name=spec.name, alias_of="", preset=preset))
    lines = [text.removeprefix("PARAMETER ") for text in modelfile.splitlines() if text.startswith("PARAMETER ")]
    return Shown(
        modelfile=modelfile,
        parameters="\n".join(lines),
        template=preset.template or (template if isinstance(template, str) else ""),
        details=details,
        model_info=described,
        capabilities=["completion"],
        license=preset.licence or str(metadata.get("general.license", "")),
        modified_at=_time(changed),
    )
