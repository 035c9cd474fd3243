"""Start answers and follow them: what every generating operation of every dialect does."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from pacos.errors import Cancelled, PacosError
from pacos.llm.stream import collected
from pacos.server import slots
from pacos.server.call import Answer, Call
from pacos.server.problem import RequestError
from pacos.server.residency import Resident
from pacos.settings import options_of
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.types import Completion, Event, Timings

__all__ = ("Answer", "completions", "events", "start")

_REASONING = {one.name for one in options_of(ReasoningOptions)}
_CONSTRAINTS = {one.name for one in options_of(ConstraintOptions)}
_COMPILED = {"tools"} | _CONSTRAINTS  # take their time, however short


async def start(
    call: Call[Any],
    resident: Resident,
    begin: Callable[..., Any],
    prompt: Any,
    options: Mapping[str, Any],
    *,
    size_characters: int,
    choices: int = 1,
) -> list[Answer]:
    """Begin answers to one prompt; they are closed when the request ends.

    `begin` is `llm.stream_many` or `llm.stream_chat_many`. `options` win over the server's for the model. What was
    computed is shared only among requests of one API key. Errors: what `begin` raises.
    """
    chats = begin != resident.llm.stream_many
    whole = {**with_defaults(resident, options, chats=chats), "owner": call.owner}
    if call.priority is not None:
        whole["priority"] = call.priority
    if call.owner:
        whole["cache_salt"] = f"{call.owner}/{whole.get('cache_salt') or ''}"
    size = math.inf if _COMPILED & whole.keys() else size_characters
    streams: list[Answer] = await call.prepared(size, lambda: begin(prompt, choices, **whole))
    for stream in streams:
        call.cleanup.push_async_callback(stream.aclose)
    call.prompts.add(len(call.streams))
    call.streams += streams
    call.slots += [slots.begin(call, resident, stream, whole) for stream in streams]
    if position := max(stream.queue_position for stream in streams):
        call.headers["X-Queue-Position"] = str(position)
    return streams


def with_defaults(resident: Resident, options: Mapping[str, Any], *, chats: bool = True) -> dict[str, Any]:
    """A request's options, and the server's for its model where they fit and the request says nothing."""
    left_out = set() if chats else _REASONING | {"template_options"}  # a text is no chat: nothing thinks first
    if _CONSTRAINTS & options.keys():
        left_out |= _CONSTRAINTS
    found = {name: value for name, value in resident.spec.defaults.items() if name not in left_out}
    template = {**found.get("template_options", {}), **options.get("template_options", {})}
    return {**found, **options, **({"template_options": template} if template else {})}


async def prompt_tokens(call: Call[Any], resident: Resident, messages: Any, options: Mapping[str, Any]) -> int:
    """How many tokens a conversation has. Errors: as `llm.prompt_tokens`."""
    whole = with_defaults(resident, options)
    size = sum(len(str(message)) for message in messages)
    return len(await call.prepared(size, lambda: resident.llm.prompt_tokens(messages, **whole)))


async def events(call: Call[Any], streams: Sequence[Answer]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all answers as they come, each with the index of its answer.

    When one of several fails, the others go on before the failure is raised.
    Errors: what a sequence fails with; RequestError 503 when the server stopped it or its turn did not come in time.
    """
    watch = _Watch(call, streams)
    late = asyncio.get_running_loop().call_later(call.options.queue_seconds, _give_up_waiting, call)
    source = _one(streams[0]) if len(streams) == 1 else _merged(streams)
    try:
        async with aclosing(source) as found:
            async for index, event in found:
                watch.see(index, event)
                yield index, event
    finally:
        late.cancel()
        watch.finish()


def _give_up_waiting(call: Call[Any]) -> None:
    if call.waits:
        seconds = call.options.queue_seconds
        headers = {"Retry-After": "10"}
        problem = f"the request has waited {seconds:g} s for its turn"
        call.stop(RequestError(problem, status=503, code="queue_timeout", headers=headers))


async def completions(call: Call[Any], streams: Sequence[Answer]) -> list[Completion]:
    """The whole answers, in order. They are cancelled when the client leaves. Errors: as `events`; ClientGone."""

    async def gather() -> list[list[Event]]:
        found: list[list[Event]] = [[] for _ in streams]
        async with aclosing(events(call, streams)) as source:
            async for index, event in source:
                found[index].append(event)
        return found

    whole = await call.while_connected(gather())
    return [collected(seen, stream.prompt_token_ids) for seen, stream in zip(whole, streams, strict=True)]


async def _one(stream: Answer) -> AsyncGenerator[tuple[int, Event], None]:
    async for event in stream:
        yield 0, event


async def _merged(streams: Sequence[Answer]) -> AsyncGenerator[tuple[int, Event], None]:
    queue: asyncio.Queue[tuple[int, Event | Exception | None]] = asyncio.Queue()

    async def follow(index: int, stream: Answer) -> None:
        try:
            async for event in stream:
                queue.put_nowait((index, event))
        except Exception as error:  # noqa: BLE001 - raised where the events are read
            queue.put_nowait((index, error))
        else:
            queue.put_nowait((index, None))

    tasks = [asyncio.ensure_future(follow(index, stream)) for index, stream in enumerate(streams)]
    failures: list[tuple[int, Exception]] = []
    try:
        running = len(tasks)
        while running:
            index, found = await queue.get()
            if isinstance(found, Event):
                yield index, found
                continue
            running -= 1
            if found is not None:
                failures.append((index, found))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        index, error = failures[0]
        if isinstance(error, PacosError):
            error.message = f"choice {index}: {error.message}"
        raise error


class _Watch:
    """Counts what answers cost, for metrics and the log."""

    def __init__(self, call: Call[Any], streams: Sequence[Answer]) -> None:
        self._call = call
        self._state = call.request.scope["state"]
        self._metrics = call.metrics
        self._facts = self._state["facts"]
        self._facts["model"] = call.model_name
        self._prompt_tokens = sum(len(streams[index].prompt_token_ids) for index in call.prompts)
        self._generated = 0
        self._first = False

    def see(self, index: int, event: Event) -> None:
        if not self._first and event.token_ids:
            self._first = True
            self._metrics.first_token(time.monotonic() - self._state["began"])
        self._generated += len(event.token_ids)
        if event.finish_reason is None:
            return
        if event.finish_reason == "cancelled":
            raise self._call.stopped or Cancelled("the answer was cut short")
        self._facts["finish"] = event.finish_reason
        if event.timings is not None:
            self._note(event.timings, first=index in self._call.prompts)

    def _note(self, timings: Timings, *, first: bool) -> None:
        if first:
            self._metrics.cached_tokens.add(timings.cached_tokens)
            self._metrics.prompt_seconds.add(timings.prompt_seconds)
        self._metrics.generate_seconds.add(timings.generate_seconds)
        if timings.generate_rate:
            self._metrics.between_tokens(1 / timings.generate_rate)

    def finish(self) -> None:
        """Count the tokens, also of an answer that nobody wanted to its end."""
        self._metrics.prompt_tokens.add(self._prompt_tokens)
        self._metrics.generated_tokens.add(self._generated)
        self._facts["prompt_tokens"] = self._prompt_tokens
        self._facts["generated_tokens"] = self._generated
