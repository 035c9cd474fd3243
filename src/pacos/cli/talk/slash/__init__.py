"""The commands of a talk, such as /help: one small function each, found in the modules of this folder."""

from __future__ import annotations

import difflib
import enum
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.cli.talk.room import Room

_COMMAND = re.compile(r"/[A-Za-z?-]*(?=\s|$)")


class Next(enum.Enum):
    """What a command asks for."""

    QUESTION = "wait for the next question"
    ANSWER = "answer the last question"
    END = "end the talk"


Run = Callable[["Room", str], "Next | None"]
Values = Callable[["Room", str], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Slash:
    """A command: `arguments` as the help shows them, `values` that may stand there with what they are, or `paths`."""

    name: str
    arguments: str
    help: str
    run: Run
    other_names: tuple[str, ...] = ()
    values: Values | None = None
    paths: bool = False

    @property
    def needs_argument(self) -> bool:
        """Whether it can do nothing alone."""
        return bool(self.arguments) and not self.arguments.startswith("[")


_FOUND: dict[str, Slash] = {}


def slash(name: str, arguments: str = "", **more: Any) -> Callable[[Run], Run]:
    """Make a command of a function, whose docstring is its help; `more` are other fields of Slash."""

    def register(run: Run) -> Run:
        text = (run.__doc__ or "").partition("\n")[0].rstrip(".")
        _FOUND[name] = Slash(name, arguments, text, run, **more)
        return run

    return register


@cache
def commands() -> dict[str, Slash]:
    """All commands by name, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return {name: _FOUND[name] for name in sorted(_FOUND)}


def is_command(text: str) -> bool:
    """Whether a line asks for a command; "/etc/hosts says ..." and "//quoted" do not."""
    return _COMMAND.match(text) is not None


def obey(room: Room, line: str) -> Next:
    """Do what a line such as "/save tale" says. Errors: UsageError with the nearest names for an unknown command."""
    word, _, rest = line.strip().partition(" ")
    name = word[1:].lower()
    found = next((one for one in commands().values() if name == one.name or name in one.other_names), None)
    if found is None:
        names = [one for command in commands().values() for one in (command.name, *command.other_names)]
        near = [one for one in names if name and one.startswith(name)] or difflib.get_close_matches(name, names, 2)
        hint = f"did you mean {' or '.join('/' + one for one in near[:3])}?" if near else "/help lists all"
        raise UsageError(f"no command {word[:40]!r}", hint=hint)
    if rest.strip() and not found.arguments:
        raise UsageError(
            f"/{found.name} takes no argument, got {rest.strip()[:40]!r}", hint=f"type /{found.name} alone"
        )
    if not rest.strip() and found.needs_argument:
        raise UsageError(f"/{found.name} needs {found.arguments}", hint=f"type /{found.name} {found.arguments}")
    return found.run(room, rest.strip()) or Next.QUESTION


def tell(text: str = "", **style: Any) -> None:
    """Say something on standard error, for standard output is for answers alone; on a terminal broken at words."""
    for line in text.split("\n"):
        for piece in render.at_words(line):
            click.echo(render.styled(piece, **style) if style else piece, err=True)


def tell_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Two columns; the second goes on below itself where the terminal is narrow."""
    import textwrap

    listed = list(rows)
    columns = render.size()[0] - 1
    left = min(max((len(first) for first, _ in listed), default=0), max(8, columns // 2))
    for first, second in listed:
        lines = textwrap.wrap(second, max(10, columns - left - 2)) or [""]
        if len(first) > left:
            tell(first)
            first = ""
        for line in lines:
            tell(f"{first:{left}}  {line}".rstrip())
            first = ""
