"""Ollama's chat."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.ollama import answering, shapes
from pacos.server.dialects.ollama.shapes import Costs, Generating
from pacos.server.fields import Fields
from pacos.types import Completion, Event, ToolCallDelta


class CalledFunction(Fields):
    """The function that a model called."""

    name: str
    arguments: dict[str, Any]
    index: int | None = None
    description: str | None = None


class ToolCall(Fields):
    """A call that a model made earlier."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] | None = None


class Message(Fields):
    """A message of the conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatRequest(Generating, kw_only=True):
    """A request for an answer."""

    messages: Sequence[Message] = ()
    tools: list[dict[str, Any]] | None = None


class ReplyFunction(msgspec.Struct):
    """The function that the model calls."""

    name: str
    arguments: Any


class ReplyCall(msgspec.Struct):
    """A tool call in a reply."""

    function: ReplyFunction


class ReplyMessage(msgspec.Struct, omit_defaults=True):
    """What the model says, or a piece of it."""

    role: str | None = None
    content: str | msgspec.UnsetType = msgspec.UNSET
    thinking: str | None = None
    tool_calls: list[ReplyCall] | None = None


class ChatReply(Costs, kw_only=True):
    """An answer, or a piece of it."""

    message: ReplyMessage


async def run(call: Call[ChatRequest]) -> ASGIApp:
    """Answer a conversation."""
    body, began, calls = call.body, time.monotonic(), _Calls()
    if not body.messages:
        return await answering.only_open(call, calls.rendered, began)
    resident = await shapes.open_model(call)
    load_seconds = time.monotonic() - began
    messages = [_plain(index, message) for index, message in enumerate(body.messages)]
    options = shapes.run_options(body, resident)
    if body.tools:
        options["tools"] = body.tools
    if body.messages[-1].role == "assistant":
        options.setdefault("template_options", {})["continue_final_message"] = True
    (stream,) = await answers.start(
        call,
        resident,
        resident.llm.stream_chat_many,
        messages,
        options,
        size_characters=sum(len(message["content"]) for message in messages),
    )
    return await answering.reply(call, resident.llm, stream, calls.rendered, began=began, load_seconds=load_seconds)


def _plain(index: int, message: Message) -> dict[str, Any]:
    """A message as chat templates take it. Errors: RequestError for pictures."""
    if message.images:
        raise shapes.without_pictures(f"messages[{index}].images")
    found: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.thinking:
        found["reasoning_content"] = message.thinking
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": one.id or f"call_{number}",
                "type": "function",
                "function": {
                    "name": one.function.name,
                    "arguments": json.dumps(one.function.arguments, ensure_ascii=False),
                },
            }
            for number, one in enumerate(message.tool_calls)
        ]
    if message.tool_name:
        found["name"] = message.tool_name
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    return found


class _Calls:
    """Holds a streamed tool call back until it is whole: Ollama's arguments are objects, not pieces of text."""

    def __init__(self) -> None:
        self._begun: ToolCallDelta | None = None

    def rendered(self, one: Event | Completion, fields: dict[str, Any]) -> ChatReply:
        """The reply for an event or a whole answer."""
        whole = isinstance(one, Completion)
        calls = list(one.tool_calls) if whole else self._whole(one.tool_calls, last=bool(fields.get("done")))
        found = [ReplyCall(ReplyFunction(call.name or "", _object(call.arguments))) for call in calls]
        return ChatReply(message=ReplyMessage("assistant", one.text, one.reasoning or None, found or None), **fields)

    def _whole(self, pieces: tuple[ToolCallDelta, ...], *, last: bool) -> list[ToolCallDelta]:
        found = []
        for piece in pieces:
            begun = self._begun
            if begun is not None and piece.index == begun.index:
                joined = begun.arguments + piece.arguments
                self._begun = ToolCallDelta(begun.index, begun.id, begun.name, joined)
                continue
            found += [begun] if begun is not None else []
            self._begun = piece
        if last and self._begun is not None:
            found.append(self._begun)
            self._begun = None
        return found


def _object(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text
