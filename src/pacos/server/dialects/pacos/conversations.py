"""Conversations kept on the server, for those who wish it: each key's holder has their own.

A message is written once under an id that its writer chose, after the message that it answers: writing it again does no
harm, and two pages in one conversation make branches and lose nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from pacos.server.call import Call
from pacos.server.dialects import Operation, Parts
from pacos.server.fields import Fields
from pacos.server.problem import RequestError
from pacos.server.stream import json_bytes, json_response
from pacos.sessions import Conversation, IdTaken, Message, NotKept, Sessions
from pacos.sessions.records import timings_from

CONVERSATIONS_MAX = 10_000  # of one owner
MESSAGES_MAX = 10_000  # of one conversation
_FOUND_MAX = 200

_ONE = "/pacos/conversations/{conversation}"
_MESSAGE = "/pacos/conversations/{conversation}/messages/{message}"

Result = TypeVar("Result")


class ConversationFields(Fields):
    """What is to be said of a conversation; what is left out stays. `active` is the end of the branch that is shown."""

    title: str | None = None
    model: str | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None
    active: str | msgspec.UnsetType | None = msgspec.UNSET


class MessageFields(Fields):
    """A message; one that is there already keeps its role and parent, and what is left out."""

    role: str | None = None
    parent: str | msgspec.UnsetType | None = msgspec.UNSET
    content: str | None = None
    reasoning: str | None = None
    attachments: list[dict[str, Any]] | None = None
    timings: dict[str, int | float] | None = None
    details: dict[str, Any] | None = None


class Hit(msgspec.Struct):
    """What a search found in a conversation: a message, or the title (None); the text around it."""

    conversation: str
    message: str | None
    excerpt: str


class Conversations(msgspec.Struct):
    """Conversations, the latest first, those of a search the best first."""

    data: list[Conversation]
    hits: list[Hit] = []


class Whole(msgspec.Struct):
    """A conversation with all its messages, parents before those that answer them."""

    conversation: Conversation
    messages: list[Message]


class Deleted(msgspec.Struct):
    """It is gone."""

    id: str
    deleted: bool = True


class _Kept:
    """The conversations of all owners, each behind its own connection to the file."""

    def __init__(self) -> None:
        self._of: dict[str, Sessions] = {}

    def of(self, owner: str) -> Sessions:
        """Those of one owner; the one without a name is also the terminal's."""
        if owner not in self._of:
            self._of[owner] = Sessions(owner=owner)
        return self._of[owner]

    def close(self) -> None:
        """Leave the file."""
        for one in self._of.values():
            one.close()


@asynccontextmanager
async def kept(parts: Parts) -> AsyncIterator[None]:
    """Keep conversations while the server runs, when it is to. Errors: as `Sessions`, for a file that it cannot use."""
    parts.app.state.kept = None
    if not parts.options.conversations:
        yield
        return
    found = _Kept()
    await asyncio.to_thread(found.of, "")
    parts.app.state.kept = found
    try:
        yield
    finally:
        await asyncio.to_thread(found.close)


async def _done(call: Call[Any], work: Callable[[Sessions], Result]) -> Result:
    """What `work` gives for the conversations of whoever asks, from a thread: it waits for the disk.

    Errors: RequestError 404 when none are kept here; what `work` raises.
    """
    found: _Kept | None = call.request.app.state.kept
    if found is None:
        hint = "start it with --conversations"
        raise RequestError("this server keeps no conversations", status=404, code="not_kept", hint=hint)
    sessions = found.of(call.owner)
    return await call.in_thread(lambda: work(sessions))


def _tagged(call: Call[Any], value: Any) -> Response:
    """A value as the response, or that it is what the client has."""
    data = json_bytes(value)
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {**call.headers, "ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in call.request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type="application/json")


async def listing(call: Call[None]) -> ASGIApp:
    """List the conversations, or find those with all words of ?search=. Errors: RequestError."""
    query = call.request.query_params
    if "search" in query:
        hits = await _done(call, lambda sessions: sessions.search(query["search"][:1000], _FOUND_MAX))
        by_id = {hit.conversation.id: hit.conversation for hit in hits}
        told = [Hit(hit.conversation.id, hit.message.id if hit.message else None, hit.excerpt) for hit in hits]
        return _tagged(call, Conversations(list(by_id.values()), told))
    limit, offset = (_number(call, name, most) for name, most in (("limit", CONVERSATIONS_MAX), ("offset", 0)))
    return _tagged(call, Conversations(list(await _done(call, lambda sessions: sessions.list(limit, offset)))))


def _number(call: Call[None], name: str, default: int) -> int:
    text = call.request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise RequestError(f"{name} is {text[:40]!a}", field=name, code="invalid_value", hint="use 0 or more")
    return int(text)


def _id(call: Call[Any], name: str = "conversation") -> str:
    found: str = call.request.path_params[name]
    return found


async def show(call: Call[None]) -> ASGIApp:
    """Tell a conversation with its messages. Errors: NotKept."""

    def read(sessions: Sessions) -> Whole:
        found = sessions.get(_id(call))
        return Whole(found, list(sessions.messages(found.id)))

    return _tagged(call, await _done(call, read))


async def put(call: Call[ConversationFields]) -> ASGIApp:
    """Begin a conversation under this id, or change what is said of it. Errors: UsageError, RequestError 409."""
    given, key = call.body, _id(call)
    said = {name: getattr(given, name) for name in ("title", "model", "system", "parameters")}

    def write(sessions: Sessions) -> Conversation:
        try:
            found = sessions.get(key)
        except NotKept:
            if sessions.list(1, CONVERSATIONS_MAX - 1):
                problem = f"there are {CONVERSATIONS_MAX} conversations"
                raise RequestError(problem, status=409, code="too_many", hint="delete some") from None
            found = _begun(sessions, key, {name: value for name, value in said.items() if value is not None})
        else:
            if any(value is not None for value in said.values()):
                found = sessions.update(key, **said)
        if given.active is not msgspec.UNSET and given.active != found.active:
            found = sessions.set_active(key, given.active)
        return found

    return json_response(call, await _done(call, write))


def _begun(sessions: Sessions, key: str, said: dict[str, Any]) -> Conversation:
    try:
        return sessions.create(id=key, **said)
    except IdTaken:  # another page was faster
        return sessions.update(key, **said)


async def delete(call: Call[None]) -> ASGIApp:
    """Delete a conversation. Errors: NotKept."""
    await _done(call, lambda sessions: sessions.delete(_id(call)))
    return json_response(call, Deleted(_id(call)))


async def put_message(call: Call[MessageFields]) -> ASGIApp:
    """Write a message, or change one in its place. Errors: NotKept, UsageError, RequestError 409."""
    given, key, message = call.body, _id(call), _id(call, "message")
    more: dict[str, Any] = {
        "reasoning": given.reasoning,
        "attachments": given.attachments,
        "timings": timings_from(given.timings),
        "details": given.details,
    }

    def write(sessions: Sessions) -> Message:
        try:
            before = sessions.message(key, message)
        except NotKept:
            said = {name: value for name, value in more.items() if value is not None}
            return _added(sessions, key, message, given, said)
        _check_place(before, given)
        return sessions.revise(key, message, content=given.content, **more)

    return json_response(call, await _done(call, write))


def _added(sessions: Sessions, key: str, message: str, given: MessageFields, said: dict[str, Any]) -> Message:
    missing = [name for name in ("role", "content") if getattr(given, name) is None]
    missing += ["parent"] if given.parent in ("", msgspec.UNSET) else []
    for name in missing:
        raise RequestError(f"{name} is missing", field=name, code="missing_field", hint="a new message needs it")
    if sessions.get(key).message_count >= MESSAGES_MAX:
        hint = "begin another conversation"
        raise RequestError(f"there are {MESSAGES_MAX} messages", status=409, code="too_many", hint=hint)
    try:
        return sessions.append(
            key, given.role or "", given.content or "", after=given.parent or None, id=message, **said
        )
    except IdTaken:  # another page was faster with the same message
        return sessions.revise(key, message, content=given.content, **said)


def _check_place(before: Message, given: MessageFields) -> None:
    said: dict[str, Any] = {"role": before.role if given.role is None else given.role}
    said["parent"] = before.parent if given.parent is msgspec.UNSET else given.parent
    for name, value in said.items():
        if value != getattr(before, name):
            problem = f"{name} is {value!a:.80}, the message that is there has {getattr(before, name)!a:.80}"
            raise RequestError(problem, status=409, field=name, code="conflict", hint="use another id")


async def delete_message(call: Call[None]) -> ASGIApp:
    """Delete a message and all that came after it. Errors: NotKept."""
    key, message = _id(call), _id(call, "message")
    return json_response(call, await _done(call, lambda sessions: sessions.remove_message(key, message)))


async def export(call: Call[None]) -> ASGIApp:
    """Give conversations as a file: those of each ?id=, or all; ?format= is json or md. Errors: UsageError."""
    query = call.request.query_params
    kind = query.get("format", "json")

    def read(sessions: Sessions) -> str:
        chosen = query.getlist("id") or [one.id for one in sessions.list()]
        return sessions.export(*chosen, format=kind)

    text = await _done(call, read)
    media_type = "application/json" if kind == "json" else "text/markdown; charset=utf-8"
    headers = {"Content-Disposition": f'attachment; filename="conversations.{kind}"', "Content-Type": media_type}
    return Response(text, headers=headers)


async def add(call: Call[Any]) -> ASGIApp:
    """Add the conversations of an export, or one from a list of messages; all or none. Errors: UsageError."""

    def write(sessions: Sessions) -> list[Conversation]:
        if sessions.list(1, CONVERSATIONS_MAX - 1):
            problem = f"there are {CONVERSATIONS_MAX} conversations"
            raise RequestError(problem, status=409, code="too_many", hint="delete some")
        return list(sessions.import_json(json_bytes(call.body).decode()))

    return json_response(call, Conversations(await _done(call, write)))


OPERATIONS = (
    Operation(
        "GET",
        "/pacos/conversations",
        listing,
        "List the conversations kept here, the latest first (?limit=, ?offset=), or find ?search=WORDS.",
        reply=Conversations,
        light=True,
    ),
    Operation("GET", _ONE, show, "Give a conversation with its messages.", reply=Whole, light=True),
    Operation(
        "PUT", _ONE, put, "Begin or change a conversation.", body=ConversationFields, reply=Conversation, light=True
    ),
    Operation("DELETE", _ONE, delete, "Delete a conversation.", reply=Deleted, light=True),
    Operation(
        "PUT", _MESSAGE, put_message, "Write or change a message.", body=MessageFields, reply=Message, light=True
    ),
    Operation(
        "DELETE",
        _MESSAGE,
        delete_message,
        "Delete a message and all that came after it.",
        reply=Conversation,
        light=True,
    ),
    Operation("GET", "/pacos/export", export, "Give conversations as a file: ?id=ID, ?format=json or md.", light=True),
    Operation(
        "POST",
        "/pacos/import",
        add,
        "Add the conversations of a file, or one from a list of messages.",
        body=dict[str, Any] | list[dict[str, Any]],
        reply=Conversations,
        light=True,
    ),
)
