"""Anthropic's conversations, and what they are as messages for a chat template."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec

from pacos.server.fields import Fields
from pacos.server.problem import RequestError

# `cache_control` asks for what happens anyway: computed prompts are reused as far as they agree.


class TextBlock(Fields, tag="text", tag_field="type"):
    """Text."""

    text: str
    cache_control: dict[str, Any] | None = None
    citations: list[Any] | None = None


class ThinkingBlock(Fields, tag="thinking", tag_field="type"):
    """What the model thought before."""

    thinking: str
    signature: str = ""


class ToolUseBlock(Fields, tag="tool_use", tag_field="type"):
    """A call that the model made before."""

    id: str
    name: str
    input: dict[str, Any]
    cache_control: dict[str, Any] | None = None


class ToolResultBlock(Fields, tag="tool_result", tag_field="type"):
    """What a called tool gave."""

    tool_use_id: str
    content: str | list[TextBlock] = ""
    is_error: bool | None = None
    cache_control: dict[str, Any] | None = None


AnyBlock = TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock


class Turn(Fields):
    """A message of the conversation."""

    role: Literal["user", "assistant"]
    content: str | list[AnyBlock]


class Tool(Fields):
    """A tool that the model may call."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    cache_control: dict[str, Any] | None = None


class ToolChoice(Fields):
    """Whether the model may or must call tools."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Fields):
    """Whether the model thinks first, and for how many tokens at most."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None
    display: Literal["summarized", "full"] | None = None


class OutputFormat(Fields):
    """The JSON schema that the answer obeys."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Fields):
    """What the answer is like."""

    format: OutputFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class Prompt(Fields):
    """What a conversation's tokens depend on."""

    model: str
    messages: list[Turn]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    cache_control: dict[str, Any] | None = None


def chat_messages(body: Prompt) -> list[dict[str, Any]]:
    """The conversation as chat templates take it. Errors: RequestError for an empty one."""
    if not body.messages:
        raise RequestError("messages is empty", field="messages", code="invalid_value", hint="give at least one")
    found: list[dict[str, Any]] = []
    if body.system:
        found.append({"role": "system", "content": _text(body.system)})
    for turn in body.messages:
        if isinstance(turn.content, str):
            found.append({"role": turn.role, "content": turn.content})
        else:
            found += _user(turn.content) if turn.role == "user" else [_assistant(turn.content)]
    return found


def _text(content: str | list[TextBlock]) -> str:
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def _user(content: list[AnyBlock]) -> list[dict[str, Any]]:
    """Results of tools come first: they belong to the calls just before."""
    results, texts = [], []
    for block in content:
        if isinstance(block, ToolResultBlock):
            text = _text(block.content)
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": block.tool_use_id,
                    "content": f"Error: {text}" if block.is_error else text,
                }
            )
        elif isinstance(block, TextBlock):
            texts.append(block.text)
        else:
            raise _misplaced(block, "user")
    spoken = [{"role": "user", "content": "\n".join(texts)}] if texts or not results else []
    return [*results, *spoken]


def _assistant(content: list[AnyBlock]) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for block in content:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ThinkingBlock):
            thoughts.append(block.thinking)
        elif isinstance(block, ToolUseBlock):
            function = {"name": block.name, "arguments": json.dumps(block.input, ensure_ascii=False)}
            calls.append({"id": block.id, "type": "function", "function": function})
        else:
            raise _misplaced(block, "assistant")
    message: dict[str, Any] = {"role": "assistant", "content": "\n".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _misplaced(block: AnyBlock, role: str) -> RequestError:
    kind = block.__struct_config__.tag
    return RequestError(f"a message of the {role} has a block {kind}", field="messages", code="invalid_value")


def continues(body: Prompt) -> bool:
    """Whether the last message is the assistant's own, to be gone on with."""
    return body.messages[-1].role == "assistant"


def chat_options(body: Prompt) -> dict[str, Any]:
    """What `llm.stream_chat` and `llm.prompt_tokens` take beside the messages.

    Errors: RequestError for a tool that is chosen and not there, and for fields that contradict each other.
    """
    found: dict[str, Any] = {}
    if body.tools:
        found["tools"] = [_function(tool) for tool in body.tools]
    if body.tool_choice is not None:
        found |= _choice(body.tool_choice, [tool.name for tool in body.tools or ()])
    if body.thinking is not None:
        found |= _thinking(body.thinking)
    found |= _form(body)
    effort = body.output_config.effort if body.output_config is not None else None
    template: dict[str, Any] = {"reasoning_effort": effort} if effort is not None else {}
    if continues(body):
        template["continue_final_message"] = True
    return {**found, "template_options": template} if template else found


def _form(body: Prompt) -> dict[str, Any]:
    inside = body.output_config.format if body.output_config is not None else None
    if inside is not None and body.output_format is not None:
        problem = "output_format and output_config.format both constrain the answer"
        raise RequestError(problem, field="output_format", code="invalid_value", hint="give one of them")
    wanted = inside or body.output_format
    return {} if wanted is None else {"json_schema": wanted.schema}


def _function(tool: Tool) -> dict[str, Any]:
    given = {"description": tool.description, "parameters": tool.input_schema, "strict": tool.strict}
    function = {name: value for name, value in given.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **function}}


def _choice(choice: ToolChoice, names: list[str]) -> dict[str, Any]:
    wanted: Any = {"auto": "auto", "any": "required", "none": "none"}.get(choice.type)
    if choice.type == "tool":
        if choice.name not in names:
            problem = f"tool_choice names {choice.name!a:.80}, which is not among the tools"
            raise RequestError(problem, field="tool_choice.name", code="invalid_value", hint=f"there are {names}"[:200])
        wanted = {"type": "function", "function": {"name": choice.name}}
    elif choice.name is not None:
        problem = f"tool_choice has a name with type {choice.type}"
        raise RequestError(problem, field="tool_choice.name", code="invalid_value", hint="use type tool, or drop it")
    if wanted != "none" and wanted != "auto" and not names:
        raise RequestError("tool_choice is given without tools", field="tool_choice", code="invalid_value")
    alone = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    return {"tool_choice": wanted, **alone}


def _thinking(thinking: Thinking) -> dict[str, Any]:
    budget = thinking.budget_tokens
    if thinking.type != "enabled":
        if budget is not None:
            problem = f"thinking.budget_tokens is given with type {thinking.type}"
            raise RequestError(problem, field="thinking.budget_tokens", code="invalid_value", hint="drop it")
        return {"reasoning": "off" if thinking.type == "disabled" else "on"}
    if budget is None or budget < 1:
        problem = f"thinking.budget_tokens is {budget}"
        raise RequestError(problem, field="thinking.budget_tokens", code="invalid_value", hint="use 1 or more")
    return {"reasoning": "on", "reasoning_budget": budget}
