"""Anthropic's messages: an answer whole or as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.anthropic import shapes
from pacos.server.dialects.anthropic.prompt import Prompt, chat_messages, chat_options
from pacos.server.dialects.anthropic.shapes import Block, StreamEvent
from pacos.server.fields import OWN, option_values, with_options
from pacos.server.stream import event, json_response, server_sent_events
from pacos.settings import GenerateOptions, SamplingOptions
from pacos.types import Event, Timings

GROUPS = (SamplingOptions, GenerateOptions)


class MessagesFields(Prompt, kw_only=True):
    """A request for an answer."""

    max_tokens: int
    stream: bool | None = None
    temperature: float | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


MessagesRequest = with_options(MessagesFields, GROUPS, without=OWN, names=shapes.NAMES)


async def run(call: Call[MessagesFields]) -> ASGIApp:
    """Answer a conversation."""
    body = call.body
    resident = await call.resident(body.model)
    messages = chat_messages(body)
    streams = await answers.start(
        call,
        resident,
        resident.llm.stream_chat_many,
        messages,
        {**option_values(body, GROUPS, shapes.NAMES), **chat_options(body)},
        size_characters=sum(len(str(message)) for message in messages),
    )
    if body.stream:
        return server_sent_events(call, _pieces(call, streams[0]), _error)
    (found,) = await answers.completions(call, streams)
    reason, stop = shapes.stop_reason(found.finish_reason, found.stop_string, body.stop_sequences or ())
    reply = shapes.Message(
        id=shapes.new_id(),
        model=resident.name,
        content=shapes.blocks(found),
        stop_reason=reason,
        stop_sequence=stop,
        usage=shapes.usage(len(found.prompt_token_ids), len(found.token_ids), found.timings),
    )
    return json_response(call, reply)


def _error(rendered: Any) -> bytes:
    return event(rendered, "error")


def _framed(one: StreamEvent) -> bytes:
    return event(one, one.type)


async def _pieces(call: Call[MessagesFields], stream: answers.Answer) -> AsyncIterator[bytes]:
    """message_start, then each block with its start, deltas and stop, then message_delta and message_stop."""
    prompt = len(stream.prompt_token_ids)
    message = shapes.Message(shapes.new_id(), call.model_name, [], None, None, shapes.usage(prompt, 0, None))
    yield _framed(StreamEvent("message_start", message=message))
    open_blocks, generated = _Blocks(), 0
    async with aclosing(answers.events(call, [stream])) as found:
        async for _, one in found:
            generated += len(one.token_ids)
            for piece in open_blocks.pieces(one):
                yield _framed(piece)
            if one.finish_reason is not None:
                for piece in open_blocks.end():
                    yield _framed(piece)
                yield _framed(_ending(call.body, one, prompt, generated, one.timings))
    yield _framed(StreamEvent("message_stop"))


def _ending(
    body: MessagesFields, last: Event, prompt_tokens: int, generated_tokens: int, timings: Timings | None
) -> StreamEvent:
    reason, stop = shapes.stop_reason(last.finish_reason or "stop", last.stop_string, body.stop_sequences or ())
    delta = {"stop_reason": reason, "stop_sequence": stop}
    return StreamEvent("message_delta", delta=delta, usage=shapes.usage(prompt_tokens, generated_tokens, timings))


class _Blocks:
    """Which block of a streamed answer is open: one at a time, numbered from 0; each call of a tool is its own."""

    def __init__(self) -> None:
        self._index = -1
        self._open: str | None = None  # "text", "thinking" or a tool call's number

    def pieces(self, one: Event) -> list[StreamEvent]:
        """The events that an event of ours becomes."""
        found: list[StreamEvent] = []
        if one.reasoning:
            found += self._switch("thinking", shapes.thinking_block(""))
            found.append(self._delta({"type": "thinking_delta", "thinking": one.reasoning}))
        if one.text:
            found += self._switch("text", Block("text", text=""))
            found.append(self._delta({"type": "text_delta", "text": one.text}))
        for call in one.tool_calls:
            found += self._switch(f"call {call.index}", shapes.tool_block(call.id, call.name, {}))
            if call.arguments:
                found.append(self._delta({"type": "input_json_delta", "partial_json": call.arguments}))
        return found

    def end(self) -> list[StreamEvent]:
        """Close what is open; an answer without anything has one empty text."""
        return (
            self._close() if self._open is not None else [*self._switch("text", Block("text", text="")), *self._close()]
        )

    def _switch(self, kind: str, block: Block) -> list[StreamEvent]:
        if self._open == kind:
            return []
        closing = self._close()
        self._index += 1
        self._open = kind
        return [*closing, StreamEvent("content_block_start", index=self._index, content_block=block)]

    def _close(self) -> list[StreamEvent]:
        if self._open is None:
            return []
        signed = [self._delta({"type": "signature_delta", "signature": ""})] if self._open == "thinking" else []
        self._open = None
        return [*signed, StreamEvent("content_block_stop", index=self._index)]

    def _delta(self, delta: dict[str, Any]) -> StreamEvent:
        return StreamEvent("content_block_delta", index=self._index, delta=delta)
