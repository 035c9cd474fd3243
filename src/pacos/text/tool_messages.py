"""Messages with tool calls and results, in the form that a chat template can print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.text.marked import markup
from pacos.text.tools import ToolFormat

Chat = list[dict[str, Any]]
# Renders a small chat with tools; None when the template refuses it.
Render = Callable[[Chat, list[Any]], str | None]

_NAME, _KEY = "needle7f3a", "thread7f3a"
_HOW = """\
You can call functions. Their signatures, in JSON:
<tools>
{tools}
</tools>
To call one, write its name and a JSON object of its arguments in this form, and nothing after the last call:
{example}"""
_EXAMPLE = """\
<tool_call>
{"name": "the function's name", "arguments": {"the argument's name": "its value"}}
</tool_call>"""


@dataclass(frozen=True, slots=True)
class CallAbilities:
    """What a template does with tools and calls, found by trying.

    text_arguments: it wants arguments as JSON text, not as an object. no_content: what it takes as the content of a
    message with calls alone.
    """

    takes_tools: bool
    takes_calls: bool
    text_arguments: bool = False
    no_content: str | None = None


def try_calls(render: Render, form: ToolFormat | None) -> CallAbilities:
    """Find out what a template prints, by rendering tiny chats."""
    question = {"role": markup("user"), "content": "x"}
    tool = {
        "type": "function",
        "function": {"name": _NAME, "description": "", "parameters": {"type": "object", "properties": {}}},
    }
    takes_tools = _NAME in (render([question], [tool]) or "")
    call_id = form.fit_id("call_0", "f", 0) if form is not None else "call_0"
    tools = [tool] if takes_tools else []
    for text_arguments in (False, True):
        for no_content in (None, ""):
            arguments: Any = {_KEY: "y"}
            function = {"name": "f", "arguments": json.dumps(arguments) if text_arguments else arguments}
            calls = [{"id": call_id, "type": "function", "function": function}]
            result = {"role": markup("tool"), "tool_call_id": call_id, "name": "f", "content": "z"}
            answer = {"role": markup("assistant"), "content": no_content, "tool_calls": calls}
            text = render([question, answer, result], tools) or ""
            # An object printed as Python does, or JSON text quoted once more, is not what the model was trained on.
            if _KEY in text and f"'{_KEY}'" not in text and f'\\"{_KEY}' not in text:
                return CallAbilities(takes_tools, True, text_arguments, no_content)
    return CallAbilities(takes_tools, takes_calls=False)


def adapt_calls(chat: Chat, abilities: CallAbilities, form: ToolFormat | None) -> Chat:
    """Bring calls and results into the form that a template takes.

    Errors: UsageError for calls that have no name, or arguments that are neither text nor an object.
    """
    renamed: dict[str, str] = {}
    adapted: Chat = []
    for index, message in enumerate(chat):
        calls = message.get("tool_calls")
        if calls:
            adapted.append(_with_calls(message, _checked(calls, index, abilities, form, renamed), abilities))
        elif message["role"] != "tool":
            adapted.append(message)
        elif abilities.takes_calls:
            old = message.get("tool_call_id")
            adapted.append({**message, "tool_call_id": renamed.get(old, old)} if isinstance(old, str) else message)
        elif index and chat[index - 1]["role"] == "tool":
            adapted[-1]["content"] += "\n" + _as_user_text(message)
        else:
            adapted.append({"role": markup("user"), "content": _as_user_text(message)})
    return adapted


def _checked(
    calls: Any, index: int, abilities: CallAbilities, form: ToolFormat | None, renamed: dict[str, str]
) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise UsageError(f"tool_calls of message {index} is a {type(calls).__name__}", hint="give a list of calls")
    found = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UsageError(f"a tool call of message {index} has no function with a name")
        arguments = function.get("arguments")
        if not isinstance(arguments, str | dict | None):
            hint = "give an object, or its JSON text"
            raise UsageError(f"arguments of a tool call of message {index} are {arguments!r:.50}", hint=hint)
        arguments = _as_text(arguments) if abilities.text_arguments else _as_object(arguments)
        old = str(call.get("id") or f"call_{len(renamed)}")
        call_id = renamed.setdefault(old, form.fit_id(old, function["name"], len(renamed)) if form is not None else old)
        found.append(
            {"id": call_id, "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        )
    return found


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def _as_object(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        found = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments


def _with_calls(message: dict[str, Any], calls: list[dict[str, Any]], abilities: CallAbilities) -> dict[str, Any]:
    content = message.get("content")
    if abilities.takes_calls:
        return {**message, "content": content or abilities.no_content, "tool_calls": calls}
    written = ["<tool_call>\n" + json.dumps(call["function"], ensure_ascii=False) + "\n</tool_call>" for call in calls]
    parts = [content] if isinstance(content, str) and content else []
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**kept, "content": "\n".join([*parts, *written])}


def _as_user_text(message: dict[str, Any]) -> str:
    """A tool's result for a template that has no place for it."""
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content)
    return f"<tool_response>\n{content or ''}\n</tool_response>"


def describe_tools(chat: Chat, tools: Sequence[Any], form: ToolFormat | None) -> Chat:
    """Tell a model whose template shows no tools about them, in the system message."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    how = _HOW.format(tools=lines, example=form.example if form is not None and form.example else _EXAMPLE)
    if chat and chat[0]["role"] in {"system", "developer"}:
        content = chat[0].get("content") or ""
        joined: Any = [*content, {"type": "text", "text": how}] if isinstance(content, list) else f"{content}\n\n{how}"
        return [{**chat[0], "content": joined}, *chat[1:]]
    return [{"role": markup("system"), "content": how}, *chat]
