"""All conversations of one owner: made, told apart, gone on with, branched, searched, and removed."""

from __future__ import annotations

import difflib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from pacos.errors import UsageError
from pacos.sessions import records, transfer
from pacos.sessions.database import Database
from pacos.sessions.records import Conversation, Found, Message
from pacos.sessions.rows import (
    CONVERSATION,
    MESSAGE,
    as_conversation,
    as_message,
    change,
    insert_message,
    message_row,
    rows,
    touch,
)
from pacos.sessions.searching import matching_messages, matching_titles
from pacos.settings import places
from pacos.types import Timings

ACTIVE = ""  # as `after`: the last message of the branch that is shown
_ID_PREFIX_CHARACTERS = 4


class Sessions:
    """The conversations in a file; close it, or use it as a context manager. Safe from many threads and processes.

    `owner` keeps those of a server's users apart; the terminal's has no name.
    Errors: FormatError, UsageError, CapacityError, for a file or a place that cannot be used; of all methods.
    """

    def __init__(self, path: Path | None = None, *, owner: str = "") -> None:
        self.file = path if path is not None else places.sessions_file()
        self._owner = owner
        self._database = Database(self.file)

    def close(self) -> None:
        """Leave the file; safe to call twice."""
        self._database.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Conversations.

    def create(
        self,
        title: str = "",
        *,
        model: str = "",
        system: str = "",
        parameters: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> Conversation:
        """Begin a conversation; without a title the first question will be one. Errors: UsageError for an id in use."""
        key = records.new_id() if id is None else records.checked_id(id)
        conversation = Conversation(key, title, model, system, parameters or {}, time.time(), time.time(), None, 0)
        with self._database.writing() as connection:
            self._insert(connection, conversation)
        return self.get(key)

    def get(self, id: str) -> Conversation:
        """The conversation of that id. Errors: NotKept."""
        with self._database.reading() as connection:
            return as_conversation(self._row(connection, id))

    def find(self, name: str) -> Conversation:
        """The conversation that has this id, title, or beginning of an id. Errors: UsageError for none or several."""
        everything = self.list()
        wanted = " ".join(name.split())
        ways = (
            [one for one in everything if one.id == name],
            [one for one in everything if one.title == wanted],
            [one for one in everything if one.title.casefold() == wanted.casefold()],
            [one for one in everything if len(name) >= _ID_PREFIX_CHARACTERS and one.id.startswith(name)],
        )
        found = next((way for way in ways if way), [])
        if len(found) > 1:
            problem = f"{len(found)} conversations are called {name[:80]!a}"
            raise UsageError(problem, hint=f"use an id: {', '.join(one.id for one in found[:5])}")
        if not found:
            near = difflib.get_close_matches(wanted, [one.title for one in everything], 3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`pacos sessions list` tells all"
            raise records.NotKept(f"no conversation {name[:80]!a}", hint=hint)
        return found[0]

    def list(self, limit: int | None = None, offset: int = 0) -> tuple[Conversation, ...]:
        """Conversations, the latest first."""
        query = f"{CONVERSATION} WHERE c.owner = ? ORDER BY c.updated DESC, c.number DESC LIMIT ? OFFSET ?"
        with self._database.reading() as connection:
            found = rows(connection, query, (self._owner, -1 if limit is None else limit, offset))
        return tuple(as_conversation(row) for row in found)

    def latest(self) -> Conversation | None:
        """The conversation that was gone on with last; None when there is none."""
        return next(iter(self.list(1)), None)

    def update(
        self,
        id: str,
        *,
        title: str | None = None,
        model: str | None = None,
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Change what is not None."""
        changes = {
            "title": None if title is None else records.one_line(title),
            "model": None if model is None else records.plain(model, "the model"),
            "system": None if system is None else records.plain(system, "the system prompt"),
            "parameters": None if parameters is None else records.object_json(parameters, "parameters"),
        }
        with self._database.writing() as connection:
            change(connection, "conversations", self._row(connection, id)["number"], changes)
            return as_conversation(self._row(connection, id))

    def rename(self, id: str, title: str) -> Conversation:
        """Give a conversation another title. Errors: UsageError for an empty one."""
        if not title.strip():
            raise UsageError("the title is empty", hint="give some words")
        return self.update(id, title=title)

    def delete(self, id: str) -> None:
        """Remove a conversation and all that was said in it."""
        with self._database.writing() as connection:
            number = self._row(connection, id)["number"]
            connection.execute("UPDATE conversations SET active = NULL WHERE number = ?", (number,))
            connection.execute("DELETE FROM messages WHERE conversation = ?", (number,))
            connection.execute("DELETE FROM conversations WHERE number = ?", (number,))

    # Messages.

    def append(
        self,
        conversation: str,
        role: str,
        content: str,
        *,
        after: str | None = ACTIVE,
        reasoning: str = "",
        attachments: Sequence[Mapping[str, Any]] = (),
        timings: Timings | None = None,
        details: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> Message:
        """Add a message after another (None: at the start), and make it the active one.

        Errors: UsageError for no such conversation or message, and for an id in use.
        """
        key = records.new_id() if id is None else records.checked_id(id)
        attached = tuple(attachments)
        message = Message(
            key, after, role, content, reasoning, attached, timings, details if details is not None else {}, time.time()
        )
        with self._database.writing() as connection:
            row = self._row(connection, conversation)
            if after == ACTIVE:
                message = replace(message, parent=row["active_id"])
            number = insert_message(connection, row["number"], message)
            title = row["title"] or (records.title_from(content) if role == "user" else "")
            connection.execute(
                "UPDATE conversations SET active = ?, updated = ?, title = ? WHERE number = ?",
                (number, message.created, records.plain(title, "the title"), row["number"]),
            )
            return as_message(message_row(connection, row["number"], key))

    def branch(self, conversation: str, message: str, content: str, **rest: Any) -> Message:
        """Say something else in a message's place, beside it; `rest` is as in `append`."""
        with self._database.reading() as connection:
            row = message_row(connection, self._row(connection, conversation)["number"], message)
        return self.append(conversation, row["role"], content, after=row["parent_id"], **rest)

    def revise(
        self,
        conversation: str,
        message: str,
        *,
        content: str | None = None,
        reasoning: str | None = None,
        attachments: Sequence[Mapping[str, Any]] | None = None,
        timings: Timings | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Message:
        """Change what is not None of a message in its place, such as an answer that was gone on with."""
        changes = {
            "content": None if content is None else records.plain(content, "the message"),
            "reasoning": None if reasoning is None else records.plain(reasoning, "the reasoning"),
            "attachments": None if attachments is None else records.objects_json(attachments, "attachments"),
            "timings": records.timings_json(timings),
            "details": None if details is None else records.object_json(details, "details"),
        }
        with self._database.writing() as connection:
            number = self._row(connection, conversation)["number"]
            change(connection, "messages", message_row(connection, number, message)["number"], changes)
            touch(connection, number)
            return as_message(message_row(connection, number, message))

    def messages(self, conversation: str) -> tuple[Message, ...]:
        """All messages of a conversation in the order in which they were said: parents before children."""
        with self._database.reading() as connection:
            number = self._row(connection, conversation)["number"]
            found = rows(connection, f"{MESSAGE} WHERE m.conversation = ? ORDER BY m.number", (number,))
        return tuple(as_message(row) for row in found)

    def message(self, conversation: str, message: str) -> Message:
        """One message of a conversation. Errors: NotKept."""
        with self._database.reading() as connection:
            return as_message(message_row(connection, self._row(connection, conversation)["number"], message))

    def path(self, conversation: str, message: str | None = None) -> tuple[Message, ...]:
        """The messages from the start to one; without it, to the active one."""
        with self._database.reading() as connection:
            row = self._row(connection, conversation)
            end = row["active"] if message is None else message_row(connection, row["number"], message)["number"]
            query = f"""WITH RECURSIVE up(number) AS (
                    VALUES (?) UNION ALL SELECT m.parent FROM messages m JOIN up USING (number)
                    WHERE m.parent IS NOT NULL)
                {MESSAGE} WHERE m.number IN (SELECT number FROM up) ORDER BY m.number"""
            found = rows(connection, query, (end,))
        return tuple(as_message(row) for row in found)

    def siblings(self, conversation: str, message: str) -> tuple[str, ...]:
        """The ids of all messages in one place of the tree, the one itself among them, the oldest first."""
        with self._database.reading() as connection:
            number = self._row(connection, conversation)["number"]
            parent = message_row(connection, number, message)["parent"]
            query = "SELECT id FROM messages WHERE conversation = ? AND parent IS ? ORDER BY number"
            return tuple(row["id"] for row in rows(connection, query, (number, parent)))

    def set_active(self, conversation: str, message: str | None, *, to_end: bool = False) -> Conversation:
        """Show the branch that ends with a message (None: the empty start); `to_end` goes on along what came latest."""
        with self._database.writing() as connection:
            number = self._row(connection, conversation)["number"]
            place = None if message is None else message_row(connection, number, message)["number"]
            later = "SELECT max(number) AS latest FROM messages WHERE conversation = ? AND parent IS ?"
            while to_end and (next_one := rows(connection, later, (number, place))[0]["latest"]) is not None:
                place = next_one
            connection.execute("UPDATE conversations SET active = ? WHERE number = ?", (place, number))
            return as_conversation(self._row(connection, conversation))

    def remove_message(self, conversation: str, message: str) -> Conversation:
        """Remove a message and all that came after it; the active one becomes the one before, where it was there."""
        with self._database.writing() as connection:
            number = self._row(connection, conversation)["number"]
            row = message_row(connection, number, message)
            down = """WITH RECURSIVE down(number) AS (
                VALUES (?) UNION ALL SELECT m.number FROM messages m JOIN down ON m.parent = down.number) """
            connection.execute(
                f"{down} UPDATE conversations SET active = ? WHERE number = ? AND active IN (SELECT number FROM down)",
                (row["number"], row["parent"], number),
            )
            connection.execute(
                f"{down} DELETE FROM messages WHERE number IN (SELECT number FROM down)", (row["number"],)
            )
            touch(connection, number)
            return as_conversation(self._row(connection, conversation))

    # All of them together.

    def search(self, text: str, limit: int = 50) -> tuple[Found, ...]:
        """Titles and messages that hold all of the words (or "phrases"), the best first."""
        with self._database.reading() as connection:
            titles = matching_titles(connection, self._owner, text, limit)
            left = limit - len(titles)
            hits = matching_messages(connection, self._owner, text, left, indexed=self._database.indexed)
            found = [Found(as_conversation(self._row(connection, key)), None, excerpt) for key, excerpt in titles]
            for key, number, excerpt in hits:
                row = rows(connection, f"{MESSAGE} WHERE m.number = ?", (number,))[0]
                found.append(Found(as_conversation(self._row(connection, key)), as_message(row), excerpt))
        return tuple(found)

    def export(self, *ids: str, format: str = "json") -> str:
        """Conversations as a text: "json", which `import_json` reads, or "md" for people, the active branch alone."""
        if format not in {"json", "md"}:
            raise UsageError(f"the format is {format[:40]!a}", hint="use json or md")
        chosen = [self.get(key) for key in ids]
        if format == "md":
            return "\n".join(transfer.as_markdown(one, self.path(one.id)) for one in chosen)
        return transfer.as_text([(one, self.messages(one.id)) for one in chosen])

    def import_json(self, text: str) -> tuple[Conversation, ...]:
        """Add conversations of an export, or one from a list of {"role", "content"}; all of them or none.

        One whose id is in use gets another. Errors: UsageError saying what is wrong where.
        """
        read = transfer.from_text(text)
        ids = []
        with self._database.writing() as connection:
            for conversation, messages in read:
                taken = connection.execute(
                    "SELECT 1 FROM conversations WHERE owner = ? AND id = ?", (self._owner, conversation.id)
                ).fetchone()
                kept = replace(conversation, id=records.new_id()) if taken else conversation
                number = self._insert(connection, kept)
                for message in messages:
                    insert_message(connection, number, message)
                connection.execute(
                    "UPDATE conversations SET active = (SELECT number FROM messages WHERE conversation = ? AND id = ?) "
                    "WHERE number = ?",
                    (number, kept.active, number),
                )
                ids.append(kept.id)
        return tuple(self.get(key) for key in ids)

    def _insert(self, connection: sqlite3.Connection, one: Conversation) -> int:
        """Write a conversation without its messages; gives its number."""
        fields = (
            *(self._owner, one.id, records.one_line(one.title), records.plain(one.model, "the model")),
            *(records.plain(one.system, "the system prompt"), records.object_json(one.parameters, "parameters")),
            *(one.created, one.updated),
        )
        query = """INSERT OR IGNORE INTO conversations
            (owner, id, title, model, system, parameters, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
        made = connection.execute(query, fields)
        if not made.rowcount:
            raise records.IdTaken(f"there is a conversation {one.id}", hint="use another id, or none")
        return int(made.lastrowid or 0)

    def _row(self, connection: sqlite3.Connection, id: str) -> dict[str, Any]:
        found = rows(connection, f"{CONVERSATION} WHERE c.owner = ? AND c.id = ?", (self._owner, id))
        if not found:
            raise records.NotKept(f"no conversation {id[:80]!a}", hint="`pacos sessions list` tells all")
        return found[0]
