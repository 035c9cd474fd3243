"""One request as a dialect's operation sees it."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from starlette.requests import Request

from pacos.server.problem import Problem, RequestError, problem_of
from pacos.types import Event, Timings

if TYPE_CHECKING:
    from pacos.server.dialects import Dialect
    from pacos.server.metrics import Metrics
    from pacos.server.residency import Residency, Resident
    from pacos.settings.serve import ServeOptions

Body = TypeVar("Body")
Result = TypeVar("Result")

_THREAD_CHARACTERS = 20_000  # prompts from here on are rendered and tokenised beside the event loop


class Answer(Protocol):
    """The events of one answer, awaited; `pacos.llm.Stream` is one."""

    prompt_token_ids: tuple[int, ...]

    @property
    def queue_position(self) -> int:
        """Its place among those that wait, 1 is next; 0 once it started."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events, the last one with its finish_reason."""

    @property
    def token_ids(self) -> array[int]:
        """All tokens so far, the prompt's included."""

    def timings(self) -> Timings:
        """What it cost so far."""

    def cancel(self) -> None:
        """Have it end soon with a last event "cancelled"."""

    async def aclose(self) -> None:
        """Stop; there are no more events."""


class ClientGone(Exception):
    """The client closed its connection; nobody reads an answer."""


class Call(Generic[Body]):
    """A request: its parsed `body`, the server's parts, and what must be undone when it ends.

    `id` is the request's id, also in the reply's headers.
    `headers` go out with the answer, also a streamed one.
    """

    def __init__(
        self, request: Request, dialect: Dialect, residency: Residency, options: ServeOptions, metrics: Metrics
    ) -> None:
        self.request = request
        self.dialect = dialect
        self.residency = residency
        self.options = options
        self.metrics = metrics
        self.body: Body
        self.id: str = request.scope["state"]["request_id"]
        self.headers: dict[str, str] = {}
        self.ping_seconds = options.stream_ping_seconds
        self.model_name = ""
        self.streams: list[Answer] = []  # what the engine computes for it
        self.slots: list[int] = []  # of each of them
        self.prompts: set[int] = set()  # of those the first of each prompt: it is computed once for all its answers
        self.stopped: RequestError | None = None
        self.body_read = False
        self.cleanup = AsyncExitStack()

    async def resident(
        self, name: str | None, *, keep_alive_seconds: float | None = None, opens: bool = False
    ) -> Resident:
        """The model of that name, opened where necessary and kept until this request has ended, or so much longer.

        None, "" and "default" are the first model. A request that `opens` models does so in every server.
        Errors: ModelNotFound, CapacityError, what opening raises; RequestError when only such requests open models.
        """
        if not (opens or self._autoload()) and not self.residency.awake(wanted := self.residency.spec(name).name):
            hint = "open it with POST /models/load, or ask with ?autoload=true"
            raise RequestError(f"model {wanted!a} is not loaded", field="model", code="not_loaded", hint=hint)
        using = self.residency.use(name, keep_alive_seconds=keep_alive_seconds)
        resident = await self.cleanup.enter_async_context(using)
        self.model_name = resident.name
        return resident

    def _autoload(self) -> bool:
        """Whether this request may open a model, as llama-server's router has it. Errors: RequestError."""
        text = self.request.query_params.get("autoload")
        if text is None:
            return self.residency.autoload
        if text not in ("true", "1", "false", "0"):
            problem = f"autoload is {text[:40]!a}"
            raise RequestError(problem, field="autoload", code="invalid_value", hint="use true or false")
        return text in ("true", "1")

    @property
    def owner(self) -> str:
        """The name of the API key, once the guard has looked at it; "" without one."""
        return str(self.request.scope["state"].get("owner", ""))

    @property
    def priority(self) -> int | None:
        """The priority of what the server asks itself; None for a client's request, which says its own."""
        found: int | None = self.request.scope["state"].get("priority")
        return found

    @property
    def waits(self) -> bool:
        """Whether nothing has been computed for it yet."""
        return not self.streams or all(stream.queue_position > 0 for stream in self.streams)

    def ping(self, seconds: int | None) -> None:
        """Have a silent stream send a comment that often; -1 is never. Errors: RequestError."""
        if seconds is None:
            return
        if seconds != -1 and seconds < 1:
            problem, hint = f"sse_ping_interval is {seconds}", "use 1 or more seconds, or -1 for never"
            raise RequestError(problem, field="sse_ping_interval", code="invalid_value", hint=hint)
        self.ping_seconds = float(seconds) if seconds > 0 else math.inf

    def stop(self, reason: RequestError) -> None:
        """End its answers soon; the client hears the reason."""
        self.stopped = self.stopped or reason
        for stream in self.streams:
            stream.cancel()

    async def prepared(self, size_characters: float, work: Callable[[], Result]) -> Result:
        """What `work` returns, in a thread when the text is so long that the event loop would notice."""
        if size_characters < _THREAD_CHARACTERS:
            return work()
        return await asyncio.to_thread(work)

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, which computes for long, from a thread beside the event loop."""
        return await asyncio.to_thread(work)

    def count(self, *, prompt_tokens: int) -> None:
        """Note what a request without an answer's events cost, for metrics and the log."""
        self.metrics.prompt_tokens.add(prompt_tokens)
        self.request.scope["state"]["facts"] |= {"model": self.model_name, "prompt_tokens": prompt_tokens}

    async def while_connected(self, work: Awaitable[Result]) -> Result:
        """The result of `work`, which is cancelled when the client leaves. Errors: ClientGone."""
        task = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return task.result()
        finally:
            for one in (task, leaving):
                one.cancel()
            await asyncio.gather(task, leaving, return_exceptions=True)

    async def _left(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def problem(self, error: BaseException) -> Problem:
        """The problem that an error is, in the names of this dialect's fields."""
        own = getattr(getattr(self, "body", None), "__struct_fields__", ())
        return problem_of(error, {**{name: name for name in own}, **self.dialect.names})

    def rendered(self, error: BaseException) -> Any:
        """An error in the dialect's shape, for the middle of a stream."""
        return self.dialect.render(self.problem(error))
