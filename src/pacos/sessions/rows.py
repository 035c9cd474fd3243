"""Rows of the tables and what they are made of: SQL on one side, frozen records on the other."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pacos.errors import UsageError
from pacos.log import logger
from pacos.sessions import records
from pacos.sessions.records import Conversation, Message

Value = TypeVar("Value")

CONVERSATION = """SELECT c.*, (SELECT m.id FROM messages m WHERE m.number = c.active) AS active_id,
    (SELECT count(*) FROM messages m WHERE m.conversation = c.number) AS message_count FROM conversations c"""
MESSAGE = "SELECT m.*, p.id AS parent_id FROM messages m LEFT JOIN messages p ON p.number = m.parent"


def insert_message(connection: sqlite3.Connection, conversation: int, one: Message) -> int:
    """Write a message; gives its number. Errors: IdTaken, NotKept when there is no such parent."""
    parent = None if one.parent is None else message_row(connection, conversation, one.parent)["number"]
    fields = (
        *(conversation, one.id, parent, records.checked_role(one.role)),
        *(records.plain(one.content, "the message"), records.plain(one.reasoning, "the reasoning")),
        *(records.objects_json(one.attachments, "attachments"), records.timings_json(one.timings)),
        *(records.object_json(one.details, "details"), one.created),
    )
    query = """INSERT OR IGNORE INTO messages
        (conversation, id, parent, role, content, reasoning, attachments, timings, details, created)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
    made = connection.execute(query, fields)
    if not made.rowcount:
        raise records.IdTaken(f"there is a message {one.id} in this conversation", hint="use another id, or none")
    return int(made.lastrowid or 0)


def rows(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """What a query finds, by name."""
    found = connection.execute(query, values)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def message_row(connection: sqlite3.Connection, conversation: int, id: str) -> dict[str, Any]:
    """A message of a conversation. Errors: NotKept."""
    found = rows(connection, f"{MESSAGE} WHERE m.conversation = ? AND m.id = ?", (conversation, id))
    if not found:
        raise records.NotKept(f"no message {id[:80]!a} in this conversation", hint="it may have been removed meanwhile")
    return found[0]


def change(connection: sqlite3.Connection, table: str, number: int, changes: Mapping[str, Any]) -> None:
    """Change what is not None in a row."""
    given = {name: value for name, value in changes.items() if value is not None}
    if given:
        names = ", ".join(f"{name} = ?" for name in given)
        connection.execute(f"UPDATE {table} SET {names} WHERE number = ?", (*given.values(), number))


def touch(connection: sqlite3.Connection, number: int) -> None:
    """Note that a conversation was changed now."""
    connection.execute("UPDATE conversations SET updated = ? WHERE number = ?", (time.time(), number))


def as_conversation(row: Mapping[str, Any]) -> Conversation:
    """A conversation from its row."""
    key, title, model, system = (_text(row[name]) for name in ("id", "title", "model", "system"))
    times = _seconds(row["created"]), _seconds(row["updated"])
    parameters = _json(row["parameters"], dict)
    return Conversation(key, title, model, system, parameters, *times, row["active_id"], row["message_count"])


def as_message(row: Mapping[str, Any]) -> Message:
    """A message from its row."""
    attachments = tuple(one for one in _json(row["attachments"], list) if isinstance(one, dict))
    try:
        timings = None if row["timings"] is None else records.timings_from(_json(row["timings"], dict))
    except UsageError:
        timings = _left_out(None)
    key, role, content, reasoning = (_text(row[name]) for name in ("id", "role", "content", "reasoning"))
    details, created = _json(row["details"], dict), _seconds(row["created"])
    return Message(key, row["parent_id"], role, content, reasoning, attachments, timings, details, created)


# Damage within a row harms no other one, and nothing else of its own.


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _left_out("")


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else _left_out(0.0)


def _json(text: Any, kind: type[Value]) -> Value:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        value = None
    return value if isinstance(value, kind) else _left_out(kind())


def _left_out(instead: Value) -> Value:
    logger(__name__).warning("the file of the conversations is damaged: a part of a conversation is left out")
    return instead
