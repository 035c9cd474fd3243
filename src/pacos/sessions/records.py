"""What sessions hold, frozen: conversations, messages, and what a search found; and the rules for their fields."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pacos.errors import UsageError
from pacos.types import Timings

TITLE_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 64 << 20  # of one message, and of the JSON beside it
_OWN_TITLE_CHARACTERS = 60
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_ROLE = re.compile(r"[a-z_]{1,32}", re.ASCII)
_TIMINGS = {one.name: float if "seconds" in one.name else int for one in fields(Timings)}


class NotKept(UsageError):
    """There is no such conversation or message."""

    http_status = 404


class IdTaken(UsageError):
    """Another conversation or message has that id."""

    http_status = 409


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation; `active` is the last message of the branch that is shown, None before the first.

    Units: seconds of the epoch. `parameters` are options of its answers; `system` is its system prompt.
    """

    id: str
    title: str
    model: str
    system: str
    parameters: Mapping[str, Any]
    created: float
    updated: float
    active: str | None
    message_count: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message; those with the same `parent` (None at the start) are its siblings, other ways to go on.

    `attachments` and `details` are JSON objects of whoever wrote them: files, tool calls, why an answer ended.
    """

    id: str
    parent: str | None
    role: str
    content: str
    reasoning: str = ""
    attachments: tuple[Mapping[str, Any], ...] = ()
    timings: Timings | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the message, or None where the title fits; `excerpt` is the text around it, on one line."""

    conversation: Conversation
    message: Message | None
    excerpt: str


def new_id() -> str:
    """A name that nothing else has."""
    return secrets.token_hex(8)


def checked_id(text: Any) -> str:
    """An id that somebody else made. Errors: UsageError."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise UsageError(f"the id is {text!a:.80}", hint="use up to 64 letters, digits, - and _")
    return text


def checked_role(role: Any) -> str:
    """Who speaks. Errors: UsageError."""
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise UsageError(f"the role is {role!a:.80}", hint="use user, assistant, system or tool")
    return role


def one_line(title: str) -> str:
    """A title without line breaks and blanks around it. Errors: UsageError for one that is too long."""
    text = " ".join(plain(title, "the title").split())
    if len(text) > TITLE_CHARACTERS_MAX:
        hint = f"at most {TITLE_CHARACTERS_MAX} are allowed"
        raise UsageError(f"the title has {len(text)} characters", hint=hint)
    return text


def title_from(text: str) -> str:
    """A title for a conversation that begins with this text: its first words."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if len(line) <= _OWN_TITLE_CHARACTERS:
        return line
    cut = line[: _OWN_TITLE_CHARACTERS - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"


def plain(text: Any, name: str) -> str:
    """Text that can be kept: halves of characters are replaced. Errors: UsageError for what is none or too long."""
    if not isinstance(text, str):
        raise UsageError(f"{name} is {type(text).__name__}", hint="give text")
    if len(text) > TEXT_CHARACTERS_MAX:
        problem = f"{name} has {len(text)} characters"
        raise UsageError(problem, hint=f"at most {TEXT_CHARACTERS_MAX} are kept")
    return text.encode("utf-8", "replace").decode()


def as_json(value: Any, name: str) -> str:
    """A value as JSON text. Errors: UsageError for one that JSON cannot say."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} cannot be kept: {error}", hint="use what JSON can say") from None
    return plain(text, name)


def object_json(value: Any, name: str) -> str:
    """A JSON object as text. Errors: UsageError."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name} is {type(value).__name__}", hint="use an object")
    return as_json(dict(value), name)


def objects_json(values: Any, name: str) -> str:
    """A list of JSON objects as text. Errors: UsageError."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, Mapping) for value in values):
        raise UsageError(f"{name} is {type(values).__name__}", hint="use a list of objects")
    return as_json([dict(value) for value in values], name)


def timings_json(timings: Timings | None) -> str | None:
    """Timings as text."""
    return None if timings is None else as_json(asdict(timings), "timings")


def timings_from(values: Any) -> Timings | None:
    """Timings from a JSON object. Errors: UsageError."""
    if values is None:
        return None
    if not isinstance(values, dict):
        raise UsageError(f"timings are {type(values).__name__}", hint="use an object")
    for name, value in values.items():
        kind = _TIMINGS.get(name)
        good = kind is not None and isinstance(value, (kind, int)) and not isinstance(value, bool) and value >= 0
        if not good:
            raise UsageError(f"timings have {name!a:.40} = {value!a:.40}", hint=f"there are {', '.join(_TIMINGS)}")
    return Timings(**values)
