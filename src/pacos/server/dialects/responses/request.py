"""What a request for a response holds, and what it is as messages for a chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from pacos.server.dialects.openai.wishes import TOP_SCORES_MAX
from pacos.server.fields import OWN, Fields, option_values, with_options
from pacos.server.problem import RequestError
from pacos.settings import GenerateOptions, SamplingOptions

GROUPS = (SamplingOptions, GenerateOptions)
NAMES = {"temp": "temperature", "n_predict": "max_output_tokens"}
SCORES = "message.output_text.logprobs"


class TextPart(Fields):
    """A piece of text, said or heard."""

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class MessageItem(Fields, tag="message", tag_field="type"):
    """A message."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[TextPart]
    id: str | None = None
    status: str | None = None


class CallItem(Fields, tag="function_call", tag_field="type"):
    """A call that the model made."""

    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class OutputItem(Fields, tag="function_call_output", tag_field="type"):
    """What a called function gave."""

    call_id: str
    output: str | list[TextPart]
    id: str | None = None
    status: str | None = None


class ReasoningItem(Fields, tag="reasoning", tag_field="type"):
    """What the model thought."""

    id: str | None = None
    summary: list[TextPart] = msgspec.field(default_factory=list)
    content: list[TextPart] | None = None
    encrypted_content: str | None = None
    status: str | None = None


Item = MessageItem | CallItem | OutputItem | ReasoningItem


class Tool(Fields):
    """A function that the model may call."""

    type: Literal["function"]
    name: str
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class Format(Fields):
    """What the answer's text must be."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class TextOptions(Fields):
    """How the answer's text is written."""

    format: Format | None = None
    verbosity: Literal["medium"] | None = None


class Reasoning(Fields):
    """Whether and how hard the model thinks; its thoughts are given whole, never as a summary."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponsesFields(Fields):
    """A request for a response."""

    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    background: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None


ResponsesRequest = with_options(ResponsesFields, GROUPS, without=OWN, names=NAMES)


def items_of(given: str | Sequence[Any]) -> list[Any]:
    """An input as a list of items: a text is a message, and a message may lack its type."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [{"type": "message", **one} if isinstance(one, dict) and "role" in one else one for one in given]


def read_items(given: Iterable[Any]) -> list[Item]:
    """Items as their types. Errors: RequestError naming the item and the field at fault."""
    found: list[Item] = []
    for index, one in enumerate(given):
        try:
            found.append(msgspec.convert(one, Item, strict=True))
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$")
            field = f"input[{index}]{where.rstrip('`')}"
            raise RequestError(f"{field}: {what}", field=field, code="invalid_type") from None
    return found


def chat_messages(instructions: str | None, items: Iterable[Item]) -> list[dict[str, Any]]:
    """The conversation as chat templates take it: thoughts and calls belong to the assistant's message."""
    found: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        if isinstance(item, MessageItem):
            role = "system" if item.role == "developer" else item.role
            message = {"role": role, "content": _text(item.content)}
            if role == "assistant" and _is_open(found):
                found[-1]["content"] += message["content"]
            else:
                found.append(message)
        elif isinstance(item, OutputItem):
            found.append({"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)})
        else:
            _add_to_assistant(found, item)
    return found


def _is_open(found: list[dict[str, Any]]) -> bool:
    """Whether the last message is the assistant's and has said nothing yet."""
    return bool(found) and found[-1]["role"] == "assistant" and not found[-1]["content"]


def _add_to_assistant(found: list[dict[str, Any]], item: CallItem | ReasoningItem) -> None:
    if not found or found[-1]["role"] != "assistant" or (isinstance(item, ReasoningItem) and found[-1]["content"]):
        found.append({"role": "assistant", "content": ""})
    message = found[-1]
    if isinstance(item, ReasoningItem):
        message["reasoning_content"] = _text(item.content or item.summary)
        return
    function = {"name": item.name, "arguments": item.arguments}
    message.setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": function})


def _text(content: str | Sequence[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def chat_options(body: ResponsesFields) -> dict[str, Any]:
    """Our options of a request. Errors: RequestError for what contradicts itself or is not there."""
    if body.background:
        raise RequestError("background is not supported", field="background", code="unsupported", hint="leave it out")
    if body.truncation == "auto":
        raise RequestError("truncation auto is not supported", field="truncation", code="unsupported", hint="drop it")
    found = {**option_values(body, GROUPS, NAMES), **_scores(body)}
    if body.tools:
        found["tools"] = [_function(tool) for tool in body.tools]
    if body.tool_choice is not None:
        found["tool_choice"] = _choice(body.tool_choice)
    if body.parallel_tool_calls is not None:
        found["parallel_tool_calls"] = body.parallel_tool_calls
    return {**found, **_format(body.text), **_thinking(body.reasoning)}


def _scores(body: ResponsesFields) -> dict[str, int]:
    """How many likeliest tokens each token brings. Errors: RequestError."""
    asked, top = set(body.include or ()), body.top_logprobs
    if unknown := asked - {"reasoning.encrypted_content", SCORES}:
        problem = f"include asks for {sorted(unknown)!a:.100}"
        raise RequestError(problem, field="include", code="unsupported", hint="leave it out")
    if top is not None and not 0 <= top <= TOP_SCORES_MAX:
        hint = f"use 0 to {TOP_SCORES_MAX}"
        raise RequestError(f"top_logprobs is {top}", field="top_logprobs", code="invalid_value", hint=hint)
    if top and SCORES not in asked:
        hint = f"include {SCORES}"
        raise RequestError(f"top_logprobs is {top}", field="top_logprobs", code="invalid_value", hint=hint)
    return {"scores": top or 0} if SCORES in asked else {}


def _function(tool: Tool) -> dict[str, Any]:
    given = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    function = {name: value for name, value in given.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **function}}


def _choice(choice: str | dict[str, Any]) -> Any:
    if isinstance(choice, str):
        return choice
    if set(choice) == {"type", "name"} and choice["type"] == "function":
        return {"type": "function", "function": {"name": choice["name"]}}
    problem = f"tool_choice is {choice!a:.80}"
    hint = 'use auto, none, required, or {"type": "function", "name": ...}'
    raise RequestError(problem, field="tool_choice", code="invalid_value", hint=hint)


def _format(text: TextOptions | None) -> dict[str, Any]:
    wanted = text.format if text is not None else None
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.type == "json_object":
        return {"json_schema": {"type": "object"}}
    if wanted.schema is None:
        field = "text.format.schema"
        raise RequestError(f"{field} is missing", field=field, code="missing_field")
    return {"json_schema": wanted.schema}


def _thinking(reasoning: Reasoning | None) -> dict[str, Any]:
    effort = reasoning.effort if reasoning is not None else None
    if effort is None:
        return {}
    if effort == "none":
        return {"reasoning": "off"}
    return {"reasoning": "on", "template_options": {"reasoning_effort": effort}}
