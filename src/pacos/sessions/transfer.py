"""Conversations as texts: JSON that another Pacos reads back, Markdown for people."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pacos.errors import UsageError
from pacos.sessions.records import (
    Conversation,
    Message,
    checked_id,
    checked_role,
    new_id,
    one_line,
    timings_from,
    title_from,
)

FORMAT = "pacos-sessions"
VERSION = 1
_NUMBER = (int, float)
_CONVERSATION: dict[str, Any] = {
    "id": str,
    "title": str,
    "model": str,
    "system": str,
    "parameters": dict,
    "created": _NUMBER,
    "updated": _NUMBER,
    "active": (str, type(None)),
    "messages": list,
}
_MESSAGE: dict[str, Any] = {
    "id": str,
    "parent": (str, type(None)),
    "role": str,
    "content": str,
    "reasoning": str,
    "attachments": list,
    "timings": (dict, type(None)),
    "details": dict,
    "created": _NUMBER,
}


def as_data(conversation: Conversation, messages: Sequence[Message]) -> dict[str, Any]:
    """A conversation with its messages, as JSON has it."""
    data = asdict(conversation)
    del data["message_count"]
    return {**data, "messages": [asdict(message) for message in messages]}


def as_text(conversations: Sequence[tuple[Conversation, Sequence[Message]]]) -> str:
    """Conversations as one JSON document."""
    data = [as_data(*one) for one in conversations]
    return json.dumps({"format": FORMAT, "version": VERSION, "conversations": data}, ensure_ascii=False, indent=1)


def as_markdown(conversation: Conversation, messages: Sequence[Message]) -> str:
    """One branch of a conversation to read."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(conversation.updated))
    parts = [f"# {conversation.title or conversation.id}", " · ".join(filter(None, (conversation.model, when)))]
    if conversation.system:
        parts += ["## System", conversation.system]
    for message in messages:
        parts.append(f"## {message.role.capitalize()}")
        names = [str(one.get("name", "file")) for one in message.attachments]
        parts += [f"*with {', '.join(names)}*"] if names else []
        parts += ["> " + message.reasoning.strip().replace("\n", "\n> ")] if message.reasoning.strip() else []
        parts.append(message.content)
    return "\n\n".join(parts) + "\n"


def from_text(text: str) -> list[tuple[Conversation, list[Message]]]:
    """What an export holds, parents before children; also a list of {"role", "content"}. Errors: UsageError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no JSON: {error}", hint="give what `pacos sessions export` wrote") from None
    if isinstance(data, list):
        return [_from_list(data)]
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        hint = "give what `pacos sessions export` wrote, or a list of messages with role and content"
        raise UsageError("this is no export of conversations", hint=hint)
    if data.get("version") != VERSION:
        hint = f"this Pacos reads {VERSION}"
        raise UsageError(f"the export has version {data.get('version')!a:.20}", hint=hint)
    conversations = data.get("conversations")
    if not isinstance(conversations, list):
        raise UsageError("the export has no list of conversations", hint="export it again")
    return [_conversation(one, f"conversation {place}") for place, one in enumerate(conversations)]


def _from_list(data: list[Any]) -> tuple[Conversation, list[Message]]:
    """One conversation from plain messages, each after the one before; system messages at the start are its system."""
    messages: list[Message] = []
    system: list[str] = []
    for place, one in enumerate(data):
        where = f"message {place}"
        fields = _checked(one, {"role": str, "content": str}, where, ())
        if fields["role"] == "system" and not messages:
            system.append(fields["content"])
            continue
        parent = messages[-1].id if messages else None
        messages.append(Message(new_id(), parent, _role(fields, where), fields["content"], created=time.time()))
    if not messages:
        raise UsageError("there are no messages", hint="give a list of messages with role and content")
    title = next((title_from(one.content) for one in messages if one.role == "user"), "")
    now = time.time()
    active = messages[-1].id
    return Conversation(new_id(), title, "", "\n\n".join(system), {}, now, now, active, len(messages)), messages


def _conversation(data: Any, where: str) -> tuple[Conversation, list[Message]]:
    fields = _checked(data, _CONVERSATION, where, ("active",))
    messages = [_message(one, f"{where}, message {place}") for place, one in enumerate(fields["messages"])]
    known: set[str] = set()
    for place, message in enumerate(messages):
        if message.id in known:
            raise UsageError(f"{where}, message {place}: the id {message.id} is there twice", hint="export it again")
        if message.parent is not None and message.parent not in known:
            problem = f"{where}, message {place}: its parent {message.parent!a:.80} does not come before it"
            raise UsageError(problem, hint="export it again")
        known.add(message.id)
    active = fields["active"]
    if active is not None and active not in known:
        raise UsageError(f"{where}: the active message {active!a:.80} is not there", hint="export it again")
    one = Conversation(
        id=checked_id(fields["id"]),
        title=one_line(fields["title"]),
        model=fields["model"],
        system=fields["system"],
        parameters=fields["parameters"],
        created=float(fields["created"]),
        updated=float(fields["updated"]),
        active=active,
        message_count=len(messages),
    )
    return one, messages


def _message(data: Any, where: str) -> Message:
    fields = _checked(data, _MESSAGE, where, ("parent", "reasoning", "attachments", "timings", "details"))
    if not all(isinstance(one, dict) for one in fields.get("attachments") or ()):
        raise UsageError(f"{where}: attachments are no objects", hint="export it again")
    return Message(
        *(checked_id(fields["id"]), fields.get("parent"), _role(fields, where), fields["content"]),
        *(fields.get("reasoning", ""), tuple(fields.get("attachments", ())), timings_from(fields.get("timings"))),
        *(fields.get("details", {}), float(fields["created"])),
    )


def _role(fields: Mapping[str, Any], where: str) -> str:
    try:
        return checked_role(fields["role"])
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None


def _checked(data: Any, known: Mapping[str, Any], where: str, optional: Sequence[str]) -> dict[str, Any]:
    """The fields of an object, each of its type. Errors: UsageError naming the first that is wrong."""
    if not isinstance(data, dict):
        raise UsageError(f"{where} is {type(data).__name__}", hint="use an object")
    for name, value in data.items():
        if name not in known:
            raise UsageError(f"{where} has the field {name!a:.40}", hint=f"there are {', '.join(known)}")
        if not isinstance(value, known[name]) or isinstance(value, bool):
            raise UsageError(f"{where}: {name} is {value!a:.40}", hint="export it again")
    missing = [name for name in known if name not in data and name not in optional]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}", hint="export it again")
    return data
