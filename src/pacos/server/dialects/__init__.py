"""The dialects: one file or folder here each, found by its name; it defines `DIALECT`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.problem import Problem

if TYPE_CHECKING:
    from pacos.server.metrics import Metrics
    from pacos.server.residency import Residency
    from pacos.settings.serve import ServeOptions


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a client may ask for.

    `path` is Starlette's, such as "/v1/models/{model:path}". `run` gets the call with its `body` parsed as `body`
    (a msgspec type; None: there is none) and returns a response. `reply` and `streamed` are the types of the answer,
    for the documentation, `stream_type` the media type of the second. `keyless`
    operations need no API key, others one with the `scope` (keys.SCOPES). `light` ones count in no limit of running
    requests.
    """

    method: str
    path: str
    run: Callable[[Call[Any]], Awaitable[ASGIApp]]
    summary: str
    body: Any = None
    reply: Any = None
    streamed: Any = None
    keyless: bool = False
    light: bool = False
    stream_type: str = "text/event-stream"
    scope: str = "infer"


@dataclass(frozen=True, slots=True)
class Parts:
    """What requests need of a server."""

    app: Starlette
    residency: Residency
    options: ServeOptions
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way that clients speak: its operations, and `render`, which gives a problem the shape of its errors.

    `names` says by which of a request's fields an option of ours is known there, so that errors name that field.
    `prefixes` are paths whose unknown rest is answered in this dialect's shape too. `background` is entered when the
    server starts and left when it ends.
    """

    name: str
    operations: tuple[Operation, ...]
    render: Callable[[Problem], Any]
    names: dict[str, str]
    prefixes: tuple[str, ...] = ()
    background: Callable[[Parts], AbstractAsyncContextManager[None]] | None = None


def dialects() -> tuple[Dialect, ...]:
    """Every dialect that this folder holds, by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").DIALECT for name in names)
