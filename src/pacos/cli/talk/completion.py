"""What the editor offers to complete: commands, their values, and the names of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacos.cli import render
from pacos.cli.talk.slash import commands
from pacos.errors import PacosError

if TYPE_CHECKING:
    from pacos.cli.talk.room import Room

_OFFERED = 200


def offers(room: Room, text: str) -> Iterator[tuple[str, str, int]]:
    """Ways to go on with a line: what to write, what it is, and how many characters it stands for."""
    if not text.startswith("/") or "\n" in text:
        return
    word, blank, rest = text.partition(" ")
    if not blank:
        for one in commands().values():
            if any(("/" + name).startswith(word) for name in (one.name, *one.other_names)):
                yield f"/{one.name}" + (" " if one.arguments else ""), one.help, len(word)
        return
    found = next((one for one in commands().values() if word[1:] in (one.name, *one.other_names)), None)
    if found is None:
        return
    if found.values is not None:
        try:
            listed = list(found.values(room, rest))
        except PacosError:  # such as a damaged file of sessions, which the command itself will tell
            listed = []
        hits = [row for row in listed if row[0].lower().startswith(rest.lower())]
        hits += [row for row in listed if rest and row not in hits and rest.lower() in row[0].lower()]
        yield from ((value, about, len(rest)) for value, about in hits[:_OFFERED])
    if found.paths:
        yield from ((path, "", len(rest)) for path in _paths(rest))


def _paths(begun: str) -> Iterable[str]:
    """Files and folders whose names begin so; hidden ones when asked for."""
    folder, slash, start = begun.rpartition("/")
    place = Path(folder + slash).expanduser() if folder or slash else Path()
    try:
        names = sorted(place.iterdir())[: 10 * _OFFERED]
    except OSError:
        return []
    shown = [path for path in names if path.name.startswith(start) and (start or not path.name.startswith("."))]
    return [f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}" for path in shown[:_OFFERED]]


def completer(room: Room) -> Any:
    """The offers in prompt_toolkit's form."""
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Offers(Completer):
        """Offers for the line before the cursor."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            """All that fit."""
            for text, about, length in offers(room, document.text_before_cursor):
                yield Completion(text, -length, display_meta=render.printable(about, 70))

    return Offers()
