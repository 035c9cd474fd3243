"""What Anthropic's replies and errors look like."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from pacos.server.problem import Problem
from pacos.types import Completion, Timings

# Names of our options here.
NAMES = {"temp": "temperature", "n_predict": "max_tokens", "stop": "stop_sequences"}

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def render(problem: Problem) -> dict[str, Any]:
    """A problem as Anthropic's errors look."""
    kind = _TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


class Usage(msgspec.Struct):
    """Tokens that a request cost; those read from the cache are not among the input tokens."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


class Block(msgspec.Struct, omit_defaults=True):
    """A part of an answer: text, thinking or tool_use."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class Message(msgspec.Struct):
    """An answer."""

    id: str
    model: str
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None
    usage: Usage
    type: str = "message"
    role: str = "assistant"


class StreamEvent(msgspec.Struct, omit_defaults=True):
    """A piece of a streamed answer; `type` says which, and is the name of the server-sent event too."""

    type: str
    message: Message | None = None
    index: int | None = None
    content_block: Block | None = None
    delta: dict[str, Any] | None = None
    usage: Usage | None = None


def new_id() -> str:
    """An id such as msg_..."""
    return f"msg_{secrets.token_hex(12)}"


def usage(prompt_tokens: int, generated_tokens: int, timings: Timings | None) -> Usage:
    """The tokens of a request."""
    cached = timings.cached_tokens if timings is not None else 0
    return Usage(prompt_tokens - cached, generated_tokens, cached)


def stop_reason(finish_reason: str, stop_string: str | None, asked: Sequence[str]) -> tuple[str, str | None]:
    """Why an answer ended, and the stop sequence that ended it when the client had named it."""
    if finish_reason == "stop" and stop_string is not None and stop_string in asked:
        return "stop_sequence", stop_string
    return _REASONS.get(finish_reason, "end_turn"), None


def blocks(one: Completion) -> list[Block]:
    """A whole answer as blocks, in the order in which a stream brings them."""
    found = [thinking_block(one.reasoning)] if one.reasoning else []
    if one.text or not (one.reasoning or one.tool_calls):
        found.append(Block("text", text=one.text))
    found += [tool_block(call.id, call.name, arguments(call.arguments)) for call in one.tool_calls]
    return found


def thinking_block(text: str) -> Block:
    """A block of thinking; the signature says nothing here, but clients send it back."""
    return Block("thinking", thinking=text, signature="")


def tool_block(call_id: str | None, name: str | None, values: Any) -> Block:
    """A call of a tool."""
    return Block("tool_use", id=call_id, name=name, input=values)


def arguments(text: str) -> Any:
    """The arguments of a call as an object; {} for none, and what is no JSON as it is."""
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text
