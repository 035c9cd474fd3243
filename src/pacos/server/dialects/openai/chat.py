"""OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.openai import shapes
from pacos.server.dialects.openai.scores import chat_scores
from pacos.server.dialects.openai.shapes import FINGERPRINT, Usage, context_of, new_id, now
from pacos.server.dialects.openai.wishes import Wishing, scores_wanted, wishes
from pacos.server.fields import OWN, Fields, with_options
from pacos.server.replay import Replays
from pacos.server.residency import Resident
from pacos.server.stream import DONE, event, json_response, server_sent_events
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.types import Completion, ContextUse, Event, ToolCallDelta

if TYPE_CHECKING:
    from pacos.llm import LLM


MESSAGES_MAX = 10_000


class TextPart(Fields, tag="text", tag_field="type"):
    """A piece of a message's text."""

    text: str


class CalledFunction(Fields):
    """The function that a model called, with its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Fields):
    """A call that a model made earlier."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class Message(Fields):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class ChatFields(Wishing, kw_only=True):
    """A request for a chat completion."""

    messages: Annotated[list[Message], msgspec.Meta(max_length=MESSAGES_MAX)]
    max_completion_tokens: int | None = None


_GROUPS = (*shapes.GROUPS, ConstraintOptions, ReasoningOptions)
ChatRequest = with_options(ChatFields, _GROUPS, without=OWN, names={"temp": "temperature"})


class FunctionText(msgspec.Struct, omit_defaults=True):
    """Name and arguments of a call, or pieces of them."""

    name: str | None = None
    arguments: str | msgspec.UnsetType = msgspec.UNSET


class ReplyCall(msgspec.Struct, omit_defaults=True):
    """A tool call in a reply; only a stream's pieces have an index."""

    function: FunctionText
    index: int | None = None
    id: str | None = None
    type: str | None = None


class ReplyMessage(msgspec.Struct, omit_defaults=True):
    """What the model says, or a piece of it."""

    role: str | None = None
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    reasoning_content: str | None = None
    tool_calls: list[ReplyCall] | None = None


class Choice(msgspec.Struct):
    """One answer."""

    index: int
    message: ReplyMessage
    finish_reason: str
    logprobs: dict[str, Any] | None = None
    context: ContextUse | msgspec.UnsetType = msgspec.UNSET


class ChatReply(msgspec.Struct):
    """A chat completion."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: str = FINGERPRINT
    timings: dict[str, Any] | None = None


class ChunkChoice(msgspec.Struct):
    """A piece of one answer."""

    index: int
    delta: ReplyMessage
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    context: ContextUse | msgspec.UnsetType = msgspec.UNSET


class ChatChunk(shapes.Head, omit_defaults=True):
    """A piece of a streamed chat completion."""

    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    timings: dict[str, Any] | None = None
    prompt_progress: dict[str, Any] | None = None


async def run(call: Call[ChatFields]) -> ASGIApp:
    """Answer a conversation."""
    body = call.body
    resident = await call.resident(body.model)
    options = _options(call, resident)
    messages = [_plain(message) for message in body.messages]
    streams = await answers.start(
        call,
        resident,
        resident.llm.stream_chat_many,
        messages,
        options,
        size_characters=sum(len(str(message["content"])) for message in messages),
        choices=shapes.choices_of(body),
    )
    if body.stream:
        pieces = _chunks(call, resident.llm, streams)
        return server_sent_events(call, Replays.of(call).started(call, pieces))
    found = await answers.completions(call, streams)
    reply = ChatReply(
        id=new_id("chatcmpl"),
        created=now(),
        model=resident.name,
        choices=[_choice(resident.llm, index, one) for index, one in enumerate(found)],
        usage=_usage(found),
        timings=shapes.timings_of(found[-1].timings),
    )
    return json_response(call, reply)


def _options(call: Call[ChatFields], resident: Resident) -> dict[str, Any]:
    options = shapes.options_of_body(call, resident) | wishes(call.body)
    top = scores_wanted(call.body)
    return options if top < 0 else {**options, "scores": top}


async def count(call: Call[ChatFields]) -> ASGIApp:
    """Count the tokens of a conversation."""
    resident = await call.resident(call.body.model)
    messages = [_plain(message) for message in call.body.messages]
    counted = await answers.prompt_tokens(call, resident, messages, _options(call, resident))
    return json_response(call, shapes.InputTokens(counted))


def _plain(message: Message) -> dict[str, Any]:
    """A message as chat templates take it."""
    fields = msgspec.to_builtins(message)
    return {name: value for name, value in fields.items() if value is not None or name == "content"}


def _usage(found: Sequence[Completion]) -> Usage:
    prompt = len(found[0].prompt_token_ids)
    return shapes.usage(prompt, sum(len(one.token_ids) for one in found), found[0].timings.cached_tokens)


def _choice(llm: LLM, index: int, one: Completion) -> Choice:
    calls = [
        ReplyCall(FunctionText(found.name, found.arguments), id=found.id, type="function") for found in one.tool_calls
    ]
    message = ReplyMessage("assistant", one.text or (None if calls else ""), one.reasoning or None, calls or None)
    return Choice(index, message, shapes.finish_reason(one) or "stop", chat_scores(llm, one.scores), context_of(one))


async def _chunks(call: Call[ChatFields], llm: LLM, streams: Sequence[answers.Answer]) -> AsyncIterator[bytes]:
    body = call.body
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    head = (new_id("chatcmpl"), "chat.completion.chunk", now(), call.model_name, FINGERPRINT)
    missing: Any = None if with_usage else msgspec.UNSET
    for index in range(len(streams)):
        yield event(ChatChunk(*head, [ChunkChoice(index, ReplyMessage("assistant", ""))], missing))
    generated, cached = 0, 0
    async with aclosing(answers.events(call, streams)) as found:
        async for index, one in found:
            generated += len(one.token_ids)
            if one.progress is not None:
                yield event(ChatChunk(*head, [], missing, prompt_progress=shapes.progress_of(one.progress)))
            if one.text or one.reasoning or one.tool_calls or one.scores:
                piece = ChunkChoice(index, _delta(one), None, chat_scores(llm, one.scores))
                spent = streams[index].timings() if body.timings_per_token else None
                yield event(ChatChunk(*head, [piece], missing, shapes.timings_of(spent)))
            if one.finish_reason is not None:
                cached = one.timings.cached_tokens if one.timings is not None and index == 0 else cached
                last = [ChunkChoice(index, ReplyMessage(), shapes.finish_reason(one), None, context_of(one))]
                yield event(ChatChunk(*head, last, missing, shapes.timings_of(one.timings)))
    if with_usage:
        prompt = len(streams[0].prompt_token_ids)
        yield event(ChatChunk(*head, [], shapes.usage(prompt, generated, cached)))
    yield DONE


def _delta(one: Event) -> ReplyMessage:
    calls = [_piece(piece) for piece in one.tool_calls]
    return ReplyMessage(None, one.text or msgspec.UNSET, one.reasoning or None, calls or None)


def _piece(piece: ToolCallDelta) -> ReplyCall:
    kind = "function" if piece.id is not None else None
    return ReplyCall(FunctionText(piece.name, piece.arguments), piece.index, piece.id, kind)
