"""Texts in files, with all that was computed of them: --persist-session, --load-session and --save-session."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import need_folder_of
from pacos.errors import CapacityError, FormatError

if TYPE_CHECKING:
    from pacos.llm import LLM


def with_session_files(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the three options."""
    for flag, text in (
        ("--save-session", "Keep the text, and all that was computed of it, in a file at the end."),
        ("--load-session", "Begin from a file that --save-session wrote, without computing it again."),
        ("--persist-session", "As --load-session where the file is there, and as --save-session."),
    ):
        function = click.option(flag, metavar="FILE", help=text)(function)
    return function


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """Where a text comes from and goes to; None is nowhere."""

    source: Path | None = None
    target: Path | None = None

    @classmethod
    def given(cls, options: dict[str, Any]) -> SessionFiles:
        """What the three options say: a persistent file that is there wins over the one to load, the one to save wins
        over the persistent one. They are taken out of the options.

        Errors: UsageError where the text could not be kept at the end.
        """
        load, save, persist = (options.pop(f"{name}_session") for name in ("load", "save", "persist"))
        source = persist if persist is not None and Path(persist).exists() else load
        target = save if save is not None else persist
        files = cls(*(None if one is None else Path(one).expanduser() for one in (source, target)))
        if files.target is not None:
            need_folder_of(files.target, f"{files.target}: ")
        return files

    def begin(self, llm: LLM) -> list[int]:
        """The tokens that the file holds; the engine knows what was computed of them, unless a warning says otherwise.

        Errors: UsageError when it cannot be read, FormatError when it is of another model, or even its tokens are
        damaged.
        """
        if self.source is None:
            return []
        texts = llm.engine.texts
        try:
            return list(texts.restore(self.source, "").tokens)
        except (FormatError, CapacityError) as error:
            tokens = list(texts.tokens(self.source, ""))  # raises again where there are none to be had
            render.warn(f"{error.message}; its {len(tokens)} tokens are computed again")
            return tokens

    def known(self, llm: LLM) -> bool:
        """Let the engine know what was computed of a text that is kept elsewhere; a warning says why it does not."""
        if self.source is None:
            return False
        try:
            llm.engine.texts.restore(self.source, "")
        except (FormatError, CapacityError) as error:
            render.warn(f"{error.message}; the conversation is computed again")
            return False
        return True

    def end(self, llm: LLM, tokens: Sequence[int]) -> None:
        """Keep a text. Errors: UsageError, CapacityError when the file cannot be written."""
        if self.target is not None and tokens:
            llm.engine.texts.save(array("i", tokens), "", self.target, tokens_alone=True)
