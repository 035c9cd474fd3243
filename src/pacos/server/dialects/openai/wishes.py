"""What a chat request asks of its answer beside the messages: tools, a form, thoughts, scores."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pacos.server.dialects.openai.shapes import Generating, the_same
from pacos.server.fields import Fields, option_values
from pacos.server.problem import RequestError
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions

TOP_SCORES_MAX = 20
_ENDS = ("add_generation_prompt", "continue_final_message")  # of a conversation, for the template
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Function(Fields):
    """A function that the model may call; its parameters are a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Fields):
    """A tool that the model may call."""

    function: Function
    type: Literal["function"] = "function"


class NamedFunction(Fields):
    """The name of a function."""

    name: str


class NamedTool(Fields):
    """The one tool that the model must call."""

    function: NamedFunction
    type: Literal["function"] = "function"


class SchemaFormat(Fields):
    """A JSON schema that the answer obeys."""

    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Fields):
    """The form of the answer: free text, some JSON object, or JSON that obeys a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None
    schema: dict[str, Any] | None = None


class Wishing(Generating, kw_only=True):
    """Fields of a chat request that shape its answer.

    `thinking_budget_tokens` and `reasoning_budget_tokens` are other names of `reasoning_budget`.
    """

    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    json_schema: dict[str, Any] | str | None = None
    thinking_budget_tokens: int | None = None
    reasoning_budget_tokens: int | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


def wishes(body: Wishing) -> dict[str, Any]:
    """The same as `llm.stream_chat` takes it. Errors: RequestError for fields that contradict each other."""
    found = option_values(body, (ConstraintOptions, ReasoningOptions))
    if body.tools:
        found["tools"] = [_plain(tool) for tool in body.tools]
    if body.tool_choice is not None:
        if not body.tools and body.tool_choice not in ("none", "auto"):
            problem = "tool_choice is given without tools"
            raise RequestError(problem, field="tool_choice", code="invalid_value", hint="give tools, or drop it")
        chosen = body.tool_choice
        found["tool_choice"] = chosen if isinstance(chosen, str) else _plain(chosen)
    if body.parallel_tool_calls is not None:
        found["parallel_tool_calls"] = body.parallel_tool_calls
    schema = _schema(body)
    if schema is not None:
        found["json_schema"] = schema
    if (budget := the_same(body, "reasoning_budget", "thinking_budget_tokens", "reasoning_budget_tokens")) is not None:
        found["reasoning_budget"] = budget
    ends = {name: getattr(body, name) for name in _ENDS if getattr(body, name) is not None}
    if body.chat_template_kwargs or ends:
        found["template_options"] = {**(body.chat_template_kwargs or {}), **ends}
    return found


def _schema(body: Wishing) -> dict[str, Any] | None:
    form = body.response_format
    if form is None:
        return None
    inside = form.json_schema.schema if form.json_schema is not None else None
    if form.type == "json_schema" and (inside if inside is not None else form.schema) is None:
        problem = "response_format.json_schema.schema is missing"
        raise RequestError(problem, field="response_format.json_schema.schema", code="missing_field")
    if form.type != "json_schema" and form.json_schema is not None:
        problem = f"response_format.json_schema has no effect with type {form.type}"
        raise RequestError(problem, field="response_format.json_schema", code="invalid_value")
    if form.type == "text":
        return None
    for name in ("grammar", "json_schema", "regex", "lark", "choice"):
        if getattr(body, name, None):
            problem = f"response_format and {name} both constrain the answer"
            raise RequestError(problem, field=name, code="invalid_value", hint="give one of them")
    return inside or form.schema or {"type": "object"}


def scores_wanted(body: Wishing) -> int:
    """How many likeliest tokens the answer tells with each token; -1 when it tells no scores. Errors: RequestError."""
    top = body.top_logprobs
    if top is None:
        return 0 if body.logprobs else -1
    if not body.logprobs:
        problem = "top_logprobs is given without logprobs"
        raise RequestError(problem, field="top_logprobs", code="invalid_value", hint="set logprobs to true")
    if not 0 <= top <= TOP_SCORES_MAX:
        hint = f"use 0 to {TOP_SCORES_MAX}"
        raise RequestError(f"top_logprobs is {top}", field="top_logprobs", code="invalid_value", hint=hint)
    return top


def _plain(value: Any) -> dict[str, Any]:
    return {
        name: {key: one for key, one in inner.items() if one is not None} if isinstance(inner, dict) else inner
        for name, inner in msgspec.to_builtins(value).items()
    }
