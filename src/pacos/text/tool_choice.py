"""The tools of a request, and which of them an answer may, must or must not call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.text.grammar import check_schema
from pacos.text.schema import schema_text, strict_schema
from pacos.text.tools import Tool

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MOST_TOOLS = 1024
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What may be called. `shown` are all tools as templates take them; `required`: nothing but calls."""

    tools: tuple[Tool, ...] = ()
    shown: tuple[dict[str, Any], ...] = ()
    required: bool = False


def read_tools(tools: Sequence[Any], choice: Any = "auto") -> ToolChoice:
    """Check tools and a tool_choice in OpenAI's shapes.

    Errors: UsageError naming the tool and what is wrong with it, or the choice.
    """
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise UsageError(f"tools is a {type(tools).__name__}", hint="give a list of tools")
    if len(tools) > _MOST_TOOLS:
        raise UsageError(f"there are {len(tools)} tools", hint=f"at most {_MOST_TOOLS} are allowed")
    functions = [_function(tool, index) for index, tool in enumerate(tools)]
    names = [function["name"] for function in functions]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two tools are named {twice!r}", hint="give each a name of its own")
    mode, allowed = _chosen(choice, names)
    if mode == "none" or (not tools and mode == "auto"):
        return ToolChoice()
    if not tools:
        raise UsageError(f"tool_choice is {mode!r}, but there are no tools", hint="give tools, or drop tool_choice")
    shown = tuple({"type": "function", "function": function} for function in functions)
    found = tuple(_tool(function) for function in functions if function["name"] in allowed)
    return ToolChoice(found, shown, required=mode == "required")


def _function(tool: Any, index: int) -> dict[str, Any]:
    where = f"tool {index}"
    if not isinstance(tool, Mapping):
        raise UsageError(f"{where} is a {type(tool).__name__}", hint='give {"type": "function", "function": {...}}')
    if tool.get("type", "function") != "function":
        raise UsageError(f"{where} has the type {tool['type']!r:.50}", hint="only functions can be called")
    function = tool.get("function", tool if "name" in tool else None)
    if not isinstance(function, Mapping):
        raise UsageError(f"{where} has no function", hint='give {"type": "function", "function": {...}}')
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{where} has the name {name!r:.80}", hint="use 1 to 128 letters, digits, and _ . -")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise UsageError(
            f"the parameters of tool {name!r} are a {type(parameters).__name__}", hint="give a JSON schema"
        )
    if parameters and parameters.get("type", "object") != "object":
        raise UsageError(f"the parameters of tool {name!r} are no object", hint='give {"type": "object", ...}')
    if not isinstance(function.get("description", ""), str | None):
        raise UsageError(f"the description of tool {name!r} is no text")
    if not isinstance(function.get("strict", False), bool | None):
        raise UsageError(f"strict of tool {name!r} is {function['strict']!r:.50}", hint="use true or false")
    whole = {"type": "object", "properties": {}, **(parameters or {})}
    kept = {key: value for key, value in function.items() if key not in {"type", "parameters", "description"}}
    return {**kept, "description": function.get("description") or "", "parameters": whole}


def _tool(function: Mapping[str, Any]) -> Tool:
    """A tool whose schema can be enforced, as far as it need be.

    Errors: UsageError naming the keyword, when the tool is strict.
    """
    name, schema, strict = function["name"], dict(function["parameters"]), bool(function.get("strict"))
    try:
        if strict:
            checked = strict_schema(schema)
            check_schema(schema_text(checked))
            return Tool(name, checked if isinstance(checked, dict) else {}, strict=True)
        check_schema(schema_text(schema, lenient=True))
        return Tool(name, schema)
    except UsageError as error:
        if strict:
            raise UsageError(f"tool {name!r}: {error.message}", hint=f"{error.hint}, or drop strict") from None
        return Tool(name, _ANY_OBJECT)


def _chosen(choice: Any, names: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The mode (none, auto, required) and the names that may be called."""
    if choice is None:
        return "auto", names
    if isinstance(choice, str):
        if choice in {"none", "auto", "required"}:
            return choice, names
        if choice == "any":
            return "required", names
        raise UsageError(f"tool_choice is {choice!r:.50}", hint="use none, auto, required, or name a function")
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        mode, listed = inner.get("mode", "auto"), inner.get("tools")
        if mode not in {"auto", "required"} or not isinstance(listed, list) or not listed:
            raise UsageError("tool_choice of type allowed_tools needs a mode, auto or required, and tools")
        return mode, [_known(_named(one), names) for one in listed]
    return "required", [_known(_named(choice), names)]


def _named(choice: Any) -> Any:
    if isinstance(choice, Mapping) and choice.get("type", "function") == "function":
        function = choice.get("function", choice)
        if isinstance(function, Mapping):
            return function.get("name")
    raise UsageError(f"tool_choice has {choice!r:.80}", hint='use {"type": "function", "function": {"name": "..."}}')


def _known(name: Any, names: Sequence[str]) -> str:
    if name not in names:
        hint = f"there are {', '.join(names)}" if names else "give tools"
        raise UsageError(f"tool_choice names {name!r:.80}, which is no tool", hint=hint)
    found: str = name
    return found
