"""Where a talk takes place: the questions that come, the commands among them, and how answers are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.talk.answering import answer, tell_error
from pacos.cli.talk.banner import banner
from pacos.cli.talk.screen import AnswerScreen, Look, PlainView, View, console
from pacos.cli.talk.slash import Next, is_command, obey, tell
from pacos.errors import PacosError

if TYPE_CHECKING:
    from rich.console import Console

    from pacos.cli.talk.keeping import Exchange
    from pacos.cli.talk.talk import Talk

_SHOWN_EXCHANGES = 2  # of a conversation that is gone on with


class Room:
    """A talk with its surroundings. `can_edit`: there is an editor on a terminal that can draw.

    `brought` gives the name under which a model can be opened, and pulls one that is not here if that is wanted.
    """

    def __init__(
        self,
        talk: Talk,
        look: Look,
        *,
        can_edit: bool,
        as_json: bool,
        quiet: bool,
        timings: bool,
        brought: Callable[[str], str],
    ) -> None:
        self._brought = brought
        self.talk = talk
        self.look = look
        self.can_edit = can_edit
        self.edits = False  # the next question takes the place of the last
        self._as_json = as_json
        self._quiet = quiet
        self._timings = timings
        self._console: Console | None = None
        self._poll: Callable[[], object] = lambda: None  # looks at the keys
        self._leave: Callable[[], object] = lambda: None  # before a sudden end

    def run(self, questions: Iterable[str]) -> None:
        """Answer and obey until the questions end."""
        if not self._quiet and render.on_terminal():
            tell("/help lists the commands, Ctrl-C stops an answer, Ctrl-D ends", dim=True)
        for text in questions:
            try:
                with self._hands():
                    if text.strip() and self._take(text) is Next.END:
                        return
            except PacosError as error:
                tell_error(error)
            except KeyboardInterrupt:
                tell("stopped")

    def _take(self, text: str) -> Next:
        edits, self.edits, self.talk.draft = self.edits, False, ""
        if is_command(text.strip()):
            then = obey(self, text)
            if then is not Next.ANSWER:
                return then
        elif edits:
            self.talk.ask_again(_unescaped(text))
        else:
            self.talk.ask(_unescaped(text))
        self.answer()
        return Next.QUESTION

    def answer(self) -> None:
        """Have the last question answered. Errors: those of the model; the question and its files then come back."""
        talk, asked = self.talk, self.talk.last()
        answered = False
        try:
            answered = answer(talk, self._view(), self._leave)
        finally:
            if not answered and self.can_edit:
                talk.draft, talk.files = asked.question, [*asked.files, *talk.files]
        last = talk.exchanges[-1] if answered else None
        if last is None and self.can_edit:
            render.note("no answer came; the question is here again")
        if self._as_json:
            render.as_json(self._data(last))
        elif last is not None and last.timings is not None and not self._quiet:
            stopped = "stopped; " if last.finish == "cancelled" else ""
            if self._timings or not self.can_edit:
                render.note(stopped + render.timings_line(last.timings))
            elif stopped:
                render.note("stopped; /continue goes on")

    def _view(self) -> View:
        """What shows an answer."""
        if self._as_json:
            return View()
        return AnswerScreen(self.look, self.console, self._poll) if self.can_edit else PlainView()

    def bring(self, model: str) -> str:
        """The name under which a model can be opened. Errors: those of pulling."""
        self._leave()  # so that the terminal shows the answer to the question whether it shall be pulled
        try:
            return self._brought(model)
        except click.Abort:
            raise KeyboardInterrupt from None

    @contextmanager
    def _hands(self) -> Iterator[None]:
        """Have keys wait that are pressed while something goes on; an answer looks for some of them."""
        if not self.can_edit:
            yield
            return
        from pacos.cli.talk.keys import listening

        with listening(self.look.toggle_thoughts) as (self._poll, self._leave):
            yield

    @property
    def console(self) -> Console:
        """Made once: to find out what a terminal can do takes a moment."""
        if self._console is None:
            self._console = console()
        return self._console

    def show_banner(self) -> None:
        """Tell what model answers, on a terminal."""
        if not self._quiet and render.on_terminal():
            for text in banner(self.talk.llm):
                tell(render.printable(text), dim=True)
        for text in self.talk.llm.warnings:
            render.warn(text)

    def show_resumed(self) -> None:
        """Tell which conversation goes on, and how it ended."""
        talk = self.talk
        count = len(talk.exchanges)
        tell(f"going on with {render.printable(talk.keeper.title, 60)!r}: {count} question{'s' if count != 1 else ''}")
        if count > _SHOWN_EXCHANGES:
            render.note(f"... /history shows the {count - _SHOWN_EXCHANGES} before these")
        if render.stdout_is_terminal():
            self.show_exchanges(talk.exchanges[-_SHOWN_EXCHANGES:])
        if talk.exchanges and not talk.exchanges[-1].answer:
            tell("the last question was not answered: /retry asks it again")

    def show_exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """Show what was said."""
        for one in exchanges:
            tell(render.styled("> ", bold=True) + render.harmless(one.question))
            if one.answer:
                view = AnswerScreen(self.look, self.console) if self.can_edit else PlainView()
                view.say(one.answer)
                view.end()

    def _data(self, last: Exchange | None) -> dict[str, Any]:
        """An answer as JSON has it; igllama's names first."""
        talk = self.talk
        timings = None if last is None else last.timings
        return {
            "response": "" if last is None else last.answer,
            "prompt_tokens": timings.prompt_tokens if timings is not None else 0,
            "response_tokens": timings.generated_tokens if timings is not None else 0,
            "generation_time_sec": round(timings.prompt_seconds + timings.generate_seconds, 6) if timings else 0.0,
            "tokens_per_sec": round(timings.generate_rate, 3) if timings is not None else 0.0,
            "reasoning": "" if last is None else last.thought,
            "finish_reason": "cancelled" if last is None else last.finish,
            "model": talk.model,
            "conversation": talk.keeper.conversation.id if talk.keeper.conversation is not None else None,
            "timings": render.timings_data(timings) if timings is not None else None,
        }


def _unescaped(text: str) -> str:
    """A second slash says that the first begins no command."""
    return text.lstrip()[1:] if text.lstrip().startswith("//") else text
