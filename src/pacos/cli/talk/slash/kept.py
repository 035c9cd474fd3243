"""Commands for the conversations on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.cli import render
from pacos.cli.talk.slash import slash, tell, tell_rows
from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.cli.talk.room import Room

_LISTED = 20


def _titles(room: Room, begun: str) -> list[tuple[str, str]]:
    return [
        (one.title, f"{one.message_count} messages, {render.ago(one.updated)}")
        for one in room.talk.keeper.sessions.list()
    ]


@slash("save", "NAME")
def save(room: Room, rest: str) -> None:
    """Give the conversation a name and keep it, also after --no-save."""
    room.talk.keeper.keep_as(room.talk, rest)
    tell(f"kept as {room.talk.keeper.title!r}")


@slash("rename", "NAME")
def rename(room: Room, rest: str) -> None:
    """Give the conversation another name."""
    keeper = room.talk.keeper
    if keeper.conversation is None:
        raise UsageError("the conversation is not kept yet", hint=f"/save {rest[:40]} keeps it under that name")
    keeper.keep_as(room.talk, rest)
    tell(f"its name is {keeper.title!r}")


@slash("load", "NAME", other_names=("resume",), values=_titles)
def load(room: Room, rest: str) -> None:
    """Go on with a kept conversation, of that name or id."""
    room.talk.go_on_with(room.talk.keeper.wanted(rest))
    room.show_resumed()


@slash("sessions", other_names=("list",))
def list_sessions(room: Room, rest: str) -> None:
    """List the kept conversations, the latest first."""
    keeper = room.talk.keeper
    found = keeper.sessions.list()
    if not found:
        tell("nothing is kept yet")
        return
    own = keeper.conversation.id if keeper.conversation is not None else None
    tell_rows(
        (
            ("* " if one.id == own else "  ") + render.printable(one.title or one.id, 60),
            f"{one.message_count} messages, {render.ago(one.updated)}, {render.printable(one.model, 40)}",
        )
        for one in found[:_LISTED]
    )
    if len(found) > _LISTED:
        tell(f"and {len(found) - _LISTED} more; `pacos sessions list` tells all")


@slash("delete", "[NAME]", values=_titles)
def delete(room: Room, rest: str) -> None:
    """Remove a kept conversation; this one, without NAME."""
    keeper = room.talk.keeper
    found = keeper.sessions.find(rest) if rest else keeper.conversation
    if found is None:
        raise UsageError("this conversation is not kept", hint="/delete NAME removes another; /sessions lists them")
    if keeper.conversation is not None and found.id == keeper.conversation.id:
        room.talk.clear()
    keeper.sessions.delete(found.id)
    tell(f"removed {found.title or found.id!r}")
