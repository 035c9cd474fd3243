"""What a response looks like, whole and in pieces."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from pacos.server.dialects.openai.shapes import now
from pacos.server.dialects.responses.request import ResponsesFields
from pacos.types import Completion, Timings, ToolCallDelta

COMPLETED = "completed"
_INCOMPLETE = {"length": "max_output_tokens"}


class OutputText(msgspec.Struct):
    """A piece of what the model says or thinks."""

    type: str
    text: str
    annotations: list[Any] | msgspec.UnsetType = msgspec.UNSET
    logprobs: list[Any] | msgspec.UnsetType = msgspec.UNSET


class OutputItem(msgspec.Struct, omit_defaults=True):
    """A message, a thought, or a call of a function."""

    id: str
    type: str
    status: str
    role: str | None = None
    content: list[OutputText] | None = None
    summary: list[Any] | msgspec.UnsetType = msgspec.UNSET
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class InputDetails(msgspec.Struct):
    """Of the input's tokens, those that were not computed anew."""

    cached_tokens: int = 0


class OutputDetails(msgspec.Struct):
    """Of the output's tokens, those of thoughts; they are not told apart."""

    reasoning_tokens: int = 0


class Usage(msgspec.Struct):
    """Tokens that a response cost."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails
    output_tokens_details: OutputDetails


class Response(msgspec.Struct, kw_only=True):
    """A response."""

    id: str
    created_at: int
    status: str
    model: str
    output: list[OutputItem]
    object: str = "response"
    error: Any = None
    incomplete_details: dict[str, str] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: dict[str, Any] = {}
    store: bool = True
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int = 0
    text: dict[str, Any] = {}
    tool_choice: Any = "auto"
    tools: list[dict[str, Any]] = []
    truncation: str = "disabled"
    background: bool = False
    usage: Usage | None = None
    user: str | None = None
    metadata: dict[str, str] = {}


class StreamEvent(msgspec.Struct, omit_defaults=True):
    """A piece of a streamed response; `type` says which, and is the name of the server-sent event too."""

    type: str
    sequence_number: int = -1
    response: Response | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    item: OutputItem | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: list[Any] | msgspec.UnsetType = msgspec.UNSET


def new_id(kind: str) -> str:
    """An id such as resp_..."""
    return f"{kind}_{secrets.token_hex(16)}"


def begun(body: ResponsesFields, model: str) -> Response:
    """The response to a request before anything was said."""
    tools = [msgspec.to_builtins(tool) for tool in body.tools or ()]
    text = msgspec.to_builtins(body.text) if body.text is not None else {"format": {"type": "text"}}
    reasoning = {"effort": body.reasoning.effort if body.reasoning is not None else None, "summary": None}
    return Response(
        id=new_id("resp"),
        created_at=now(),
        status="in_progress",
        model=model,
        output=[],
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        reasoning=reasoning,
        store=body.store is not False,
        temperature=body.temperature,
        top_p=getattr(body, "top_p", None),
        top_logprobs=body.top_logprobs or 0,
        text=text,
        tool_choice=body.tool_choice if body.tool_choice is not None else "auto",
        tools=tools,
        user=body.user,
        metadata=body.metadata or {},
    )


def finish(
    response: Response,
    output: Sequence[OutputItem],
    reason: str,
    counts: tuple[int, int],
    timings: Timings | None,
) -> None:
    """Fill in what an answer became. `counts` are tokens of the prompt and of the answer."""
    prompt, generated = counts
    cached = timings.cached_tokens if timings is not None else 0
    response.output = list(output)
    response.usage = Usage(prompt, generated, prompt + generated, InputDetails(cached), OutputDetails())
    why = _INCOMPLETE.get(reason)
    response.status = COMPLETED if why is None else "incomplete"
    response.incomplete_details = None if why is None else {"reason": why}


def outputs(one: Completion, scores: list[Any]) -> list[OutputItem]:
    """A whole answer as items, in the order in which a stream brings them; `scores` are those of its tokens."""
    found = [thought(one.reasoning)] if one.reasoning else []
    if one.text or not (one.reasoning or one.tool_calls):
        found.append(message(one.text, scores=scores))
    return [*found, *(called(call) for call in one.tool_calls)]


def thought(text: str, status: str = COMPLETED) -> OutputItem:
    """A thought."""
    content = [OutputText("reasoning_text", text)] if text else None
    return OutputItem(new_id("rs"), "reasoning", status, content=content, summary=[])


def message(text: str, status: str = COMPLETED, *, scores: Sequence[Any] = ()) -> OutputItem:
    """A message; one that has only begun has no content yet."""
    content = [said(text, scores)] if status == COMPLETED else []
    return OutputItem(new_id("msg"), "message", status, role="assistant", content=content)


def said(text: str, scores: Sequence[Any] = ()) -> OutputText:
    """A piece of a message."""
    return OutputText("output_text", text, [], list(scores))


def called(call: ToolCallDelta, status: str = COMPLETED) -> OutputItem:
    """A call of a function."""
    return OutputItem(
        new_id("fc"), "function_call", status, call_id=call.id, name=call.name, arguments=call.arguments or ""
    )
