"""The application: every dialect's operations behind one guard, one log and one set of metrics."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pacos.server import access
from pacos.server.call import Call, ClientGone
from pacos.server.dialects import Dialect, Operation, Parts, dialects
from pacos.server.engine_metrics import engine_metrics, llama_metrics
from pacos.server.fields import convert, read_json
from pacos.server.guard import Guard, check_json_type, read_body
from pacos.server.metrics import Metrics
from pacos.server.page import Page
from pacos.server.prefix import Prefix
from pacos.server.problem import RequestError
from pacos.server.requests import Requests
from pacos.server.residency import Residency
from pacos.server.stream import error_bytes
from pacos.server.turns import Turns
from pacos.settings.serve import ServeOptions

FALLBACK = "openai"  # the dialect of paths that nobody knows
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_THREAD_BYTES = 256 << 10  # bodies from here on are parsed beside the event loop
_THREADS = 64  # they wait more than they compute: embeddings, models that are opened, long texts
_LAG_SECONDS = 0.1  # how often the event loop's lateness is measured
_NOTHING_RUNS = ((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),)  # if shown as a page
_SAMPLE_SECONDS = 1.0  # how often the numbers for the status view are noted


def create_app(residency: Residency, options: ServeOptions) -> Starlette:
    """The ASGI application that serves these models in every dialect."""
    metrics, guard, page = Metrics(), Guard(options), Page(options)
    spoken = dialects()
    by_path: dict[str, dict[str, tuple[Dialect, Operation]]] = defaultdict(dict)
    for dialect in spoken:
        for operation in dialect.operations:
            by_path[operation.path].setdefault(operation.method, (dialect, operation))
    metrics.collectors += [lambda: engine_metrics(residency), lambda: llama_metrics(metrics, residency)]
    shared = _Shared(residency, options, guard, metrics, spoken)
    # Fixed paths come before those with parameters, which might take them.
    paths = sorted(by_path, key=lambda path: ("{" in path, path))
    routes = [Route(path, _Endpoint(shared, by_path[path])) for path in paths]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(_THREADS, "pacos-server")
        asyncio.get_running_loop().set_default_executor(threads)
        chores = asyncio.ensure_future(_chores(residency, metrics, shared.requests))
        try:
            async with AsyncExitStack() as stack:
                for dialect in spoken:
                    if dialect.background is not None:
                        await stack.enter_async_context(dialect.background(Parts(app, residency, options, metrics)))
                yield
        finally:
            chores.cancel()
            await asyncio.gather(chores, return_exceptions=True)
            await residency.close()

    layers = [
        Middleware(_Intake, shared=shared),
        Middleware(Prefix, prefix=options.api_prefix, outside=_Endpoint(shared, {})),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, middleware=layers)
    app.router.redirect_slashes = False
    app.router.default = _Endpoint(shared, {}, page)  # also of targets that are no path, such as *
    app.state.requests, app.state.page = shared.requests, page
    return app


async def _chores(residency: Residency, metrics: Metrics, requests: Requests) -> None:
    loop = asyncio.get_running_loop()
    sampled = loop.time()
    while True:
        wanted = loop.time() + _LAG_SECONDS
        await asyncio.sleep(_LAG_SECONDS)
        metrics.loop_lag.observe(max(0.0, loop.time() - wanted))
        await residency.shut_expired()
        if loop.time() - sampled >= _SAMPLE_SECONDS:
            sampled = loop.time()
            metrics.recent.sample(residency, requests.running)


class _Shared:
    """What every request sees of the server."""

    def __init__(
        self,
        residency: Residency,
        options: ServeOptions,
        guard: Guard,
        metrics: Metrics,
        spoken: tuple[Dialect, ...],
    ) -> None:
        self.residency = residency
        self.options = options
        self.guard = guard
        self.metrics = metrics
        self.dialects = {dialect.name: dialect for dialect in spoken}
        self.requests = Requests(options.requests_max)
        self.turns = Turns()

    def dialect_of(self, path: str) -> Dialect:
        """The dialect in whose shape a path that nobody knows is answered."""
        fitting = [
            (len(prefix), name)
            for name, dialect in self.dialects.items()
            for prefix in dialect.prefixes
            if path.startswith(prefix)
        ]
        return self.dialects[max(fitting)[1] if fitting else FALLBACK]


class _Intake:
    """The outermost layer: ids, headers that every answer has, the log, the metrics."""

    def __init__(self, app: ASGIApp, shared: _Shared) -> None:
        self.app = app
        self.shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        state = scope.setdefault("state", {})
        state["request_id"] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        state["began"], state["facts"] = began, {}
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*message.get("headers", ())]
                closed = "own_rules" in state or any(name == b"content-security-policy" for name, _ in own)
                message["headers"] = [*own, *self._headers(request, state), *(() if closed else _NOTHING_RUNS)]
            await send(message)

        metrics = self.shared.metrics
        metrics.running.add(1)
        try:
            await self.shared.turns.take()
            await self.app(scope, receive, watched)
        finally:
            metrics.running.add(-1)
            seconds = time.monotonic() - began
            metrics.request_seconds.observe(seconds)
            if "finish" in state["facts"]:
                self.shared.requests.ended(seconds)
            metrics.requests.add(1, state.get("path", "unknown"), str(status or 499))
            if self.shared.options.log_requests:
                access.log_request(request, status or 499, seconds, state)

    def _headers(self, request: Request, state: MutableMapping[str, Any]) -> list[tuple[bytes, bytes]]:
        found = {
            "X-Request-Id": state["request_id"],
            "X-Content-Type-Options": "nosniff",
            **self.shared.guard.cors_headers(request),
        }
        return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in found.items()]


class _Endpoint:
    """All operations of one path, whatever their dialect; an unknown path has none, but may be a file of the page."""

    def __init__(
        self, shared: _Shared, operations: dict[str, tuple[Dialect, Operation]], page: Page | None = None
    ) -> None:
        self.shared = shared
        self.operations = operations
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        request = Request(scope, receive)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        dialect, operation = self.operations.get(method) or (self._dialect(path), None)
        call: Call[Any] = Call(request, dialect, self.shared.residency, self.shared.options, self.shared.metrics)
        try:
            async with call.cleanup:
                if operation is None and self.page is not None and method == "GET":
                    operation = await self.page.operation(path)
                response = await self._answer(call, operation)
                await response(scope, receive, send)
        except (ClientGone, ClientDisconnect):
            self.shared.metrics.disconnects.add()
            await _unsent(send)

    def _dialect(self, path: str) -> Dialect:
        return next(iter(self.operations.values()))[0] if self.operations else self.shared.dialect_of(path)

    async def _answer(self, call: Call[Any], operation: Operation | None) -> ASGIApp:
        try:
            if call.request.method == "OPTIONS" and self.operations:
                methods = ", ".join(sorted(self.operations))
                return Response(status_code=204, headers=self.shared.guard.preflight_headers(call.request, methods))
            if operation is None:
                self.shared.guard.admit(call.request, keyless=False)
                raise self._nothing_here(call.request)
            self.shared.guard.admit(call.request, keyless=operation.keyless, scope=operation.scope)
            call.request.scope["state"]["path"] = operation.path
            if not operation.light:
                call.cleanup.enter_context(self.shared.requests.place(call))
            if operation.body is not None:
                call.body = await _parsed(call, operation.body)
            async with asyncio.timeout(call.options.request_seconds):
                return await operation.run(call)
        except (ClientGone, ClientDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - every failure gets an answer
            return _refusal(self.shared, call, error)

    def _nothing_here(self, request: Request) -> RequestError:
        if not self.operations:
            return RequestError(f"there is nothing at {request.url.path[:200]!a}", status=404, code="not_found")
        allowed = ", ".join(sorted(self.operations))
        problem = f"{request.method[:40]} is not possible at {request.url.path[:200]!a}"
        return RequestError(problem, status=405, code="method_not_allowed", hint=allowed, headers={"Allow": allowed})


async def _parsed(call: Call[Any], kind: Any) -> Any:
    check_json_type(call.request)
    data = await read_body(call.request, call.options)
    call.body_read = True
    parse: Callable[[], Any] = lambda: convert(read_json(data), kind)  # noqa: E731
    return parse() if len(data) < _THREAD_BYTES else await asyncio.to_thread(parse)


def _refusal(shared: _Shared, call: Call[Any], error: Exception) -> Response:
    if isinstance(error, TimeoutError):
        error = RequestError("the request took too long", status=504, code="timeout")
    problem = call.problem(error)
    call.request.scope["state"]["facts"]["error"] = problem.code or problem.status
    headers = {**call.headers, **problem.headers}
    if problem.code == "server_busy":
        headers["Retry-After"] = str(shared.requests.retry_seconds())
    if not call.body_read and _has_body(call.request):
        headers["Connection"] = "close"  # nobody reads what is still to come
    return Response(error_bytes(call.dialect.render(problem)), problem.status, headers, "application/json")


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


async def _unsent(send: Send) -> None:
    """Finish a request whose client left: nobody reads this, but the server below wants an end."""
    await send({"type": "http.response.start", "status": 499, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
