"""Check the messages, tools and options of a chat, and copy them for a template.

A template gets its own copy, so nothing that it does reaches the caller. All strings become exact `str`, which
is data to `marked`, save the names of known roles: formats such as Phi-3 build special tokens out of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pacos.errors import TemplateError, UsageError
from pacos.settings.option import check_template_option
from pacos.text.budget import TEXT_CHARS
from pacos.text.marked import markup

Message = Mapping[str, Any]

ROLES = frozenset(
    (
        *("system", "developer", "user", "assistant", "tool", "function", "ipython", "model", "human", "bot"),
        *("observation", "environment", "context", "documents", "document", "tool_results", "tool_result"),
        *("tool_response", "tool_call", "tool_calls", "assistant_tool_call", "tools", "latest_reminder", "info"),
        *("critic", "planner", "User", "Assistant", "System", "Human", "Bot"),
    )
)
PART_TYPES = frozenset(
    (
        *("text", "input_text", "output_text", "thinking", "reasoning", "refusal", "document"),
        *("image", "image_url", "input_image", "audio", "input_audio", "audio_url", "video", "video_url"),
    )
)
_TEXT_PARTS = ("text", "input_text", "output_text")
_MOST_MESSAGES = 20_000
_MOST_VALUES = 1_000_000
_DEEPEST = 64
_MOST_OPTIONS = 64
_OPTION_CHARS = 64 * 1024
_NUMBER_BITS = 1024


class _Copier:
    """Copy JSON-like values and count them."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.values = 0
        self.chars = 0

    def copy(self, value: Any, depth: int = 1) -> Any:
        self.values += 1
        if depth > _DEEPEST or self.values > _MOST_VALUES:
            raise UsageError(f"the {self.what} nest deeper than {_DEEPEST} levels or hold {_MOST_VALUES:,} values")
        if isinstance(value, str):
            self.chars += len(value)
            return str.__str__(value)  # an exact str, whatever subclass came
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            if value.bit_length() > _NUMBER_BITS:
                raise UsageError(f"the {self.what} hold a number of {value.bit_length():,} bits")
            return value
        if isinstance(value, Mapping):
            copied = {}
            for key, item in value.items():
                if not isinstance(key, str):
                    raise UsageError(f"the {self.what} hold a key that is not text: {key!r:.50}")
                copied[self.copy(key, depth)] = self.copy(item, depth + 1)
            return copied
        if isinstance(value, (list, tuple)):
            return [self.copy(item, depth + 1) for item in value]
        raise UsageError(f"the {self.what} hold a {type(value).__name__}", hint="use JSON-like values")


def copy_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Copy messages after checking their roles and contents.

    Errors: UsageError, also when their texts alone are more than a template may print.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise UsageError(f"messages must be a list of messages, not a {type(messages).__name__}")
    if not 1 <= len(messages) <= _MOST_MESSAGES:
        raise UsageError(f"a chat needs 1 to {_MOST_MESSAGES:,} messages, not {len(messages):,}")
    copier = _Copier("messages")
    copied = [_copy_message(copier, message, index) for index, message in enumerate(messages)]
    if copier.chars > TEXT_CHARS:
        problem = f"the messages are too long: {copier.chars:,} characters, at most {TEXT_CHARS:,} are possible"
        raise UsageError(problem, hint="shorten the prompt")
    return copied


def _copy_message(copier: _Copier, message: Any, index: int) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or not message["role"]:
        raise UsageError(f'message {index} has no role (a message is {{"role": "user", "content": "..."}})')
    copied: dict[str, Any] = copier.copy(message)
    role, content = copied["role"], copied.get("content")
    if role in ROLES:
        copied["role"] = markup(role)
    if content is not None and not isinstance(content, (str, list)):
        raise UsageError(f"the content of message {index} is a {type(content).__name__}, not text or parts")
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind not in PART_TYPES:
            raise UsageError(f"message {index} has a content part of unknown type {kind!r:.50}")
        if kind in _TEXT_PARTS and not isinstance(part.get("text"), str):
            raise UsageError(f"message {index} has a text part without text")
    return copied


def copy_tools(tools: Sequence[Any]) -> list[Any]:
    """Copy tool descriptions."""
    if isinstance(tools, (str, bytes, Mapping)) or not all(isinstance(tool, Mapping) for tool in tools):
        raise UsageError("tools must be a list of objects")
    copied: list[Any] = _Copier("tools").copy(list(tools))
    return copied


def copy_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copy template options such as `enable_thinking`; refuse names that mean something else."""
    if len(options) > _MOST_OPTIONS:
        raise UsageError(f"there are {len(options):,} template options (limit {_MOST_OPTIONS})")
    copied = {}
    for name, value in options.items():
        check_template_option(name)
        copier = _Copier(f"template option {name!r:.50}'s values")
        copied[name] = copier.copy(value)
        if copier.chars > _OPTION_CHARS and name != "documents":
            raise UsageError(f"the template option {name!r:.50} has {copier.chars:,} characters (limit 65,536)")
    return copied


def flatten(message: dict[str, Any]) -> dict[str, Any]:
    """Turn a list of text parts into one text, a line per part."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    for part in content:
        if part["type"] not in _TEXT_PARTS:
            raise TemplateError(f"the chat template takes text only, but a message has a part of type {part['type']!r}")
    return {**message, "content": "\n".join(part["text"] for part in content)}


def spread(message: dict[str, Any]) -> dict[str, Any]:
    """Turn a text into a list of one part."""
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def fold_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move leading system text into the first user message, for templates without a system role."""
    lead: list[str] = []
    rest = list(messages)
    while rest and rest[0]["role"] in ("system", "developer"):
        lead.append(flatten(rest.pop(0)).get("content") or "")
    text = "\n".join(lead)
    for index, message in enumerate(rest):
        if message["role"] == "user":
            content = message.get("content") or ""
            joined = [{"type": "text", "text": text}, *content] if isinstance(content, list) else f"{text}\n{content}"
            rest[index] = {**message, "content": joined}
            return rest
    return [{"role": markup("user"), "content": text}, *rest]
