"""One answer, from the model to the screen and into the talk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pacos.cli import render
from pacos.cli.run import interruptible
from pacos.cli.talk.slash import tell
from pacos.errors import ContextFull, PacosError

if TYPE_CHECKING:
    from pacos.cli.talk.screen import View
    from pacos.cli.talk.talk import Talk
    from pacos.types import ContextUse

_WARN_AT_PERCENT = (90, 75)


def answer(talk: Talk, view: View, leave: Callable[[], object] = lambda: None) -> bool:
    """Answer the last question, or go on with the answer that it has; whether there is one now.

    What was said before Ctrl-C stays. `leave` is called before Ctrl-C, pressed again, ends the program.
    Errors: those of the model, after the question was taken back into the editor.
    """
    hidden, before = talk.unseen, talk.used_tokens
    use: ContextUse | None = None
    failed = True
    try:
        stream = talk.stream(progress=render.on_terminal())
        exchange = talk.exchanges[-1]
        if talk.unseen > hidden:
            _tell_hidden(talk)

        def end_now() -> None:
            talk.keeper.answered(talk)
            leave()

        for event in interruptible(stream, end_now):
            exchange.thought += event.reasoning
            exchange.answer += event.text
            view.think(event.reasoning)
            view.say(event.text)
            exchange.timings = event.timings or exchange.timings
            exchange.finish, use = event.finish_reason or exchange.finish, event.context
        failed = False
    except ContextFull as error:
        way_out = "/file - leaves the files out" if talk.last().files else "/clear starts anew"
        hint = f"{error.hint or 'use a larger --ctx-size'}; {way_out}"
        raise ContextFull(error.message, hint=hint) from None
    finally:
        view.end(failed=failed)
        answered = talk.settle()
    talk.tokens = list(stream.token_ids)
    talk.used_tokens = len(talk.tokens) - (0 if use is None else use.shifted_tokens)
    if exchange.timings is not None:
        talk.totals.add(exchange.timings)
    render.tell_context(use)
    if answered:
        _tell_use(talk, before)
    return answered


def tell_error(error: PacosError) -> None:
    """One line that does not end the talk."""
    text = f"error: {error.message}" + (f"; {error.hint}" if error.hint else "")
    tell(render.printable(text, 700))


def _tell_hidden(talk: Talk) -> None:
    oldest = "the oldest exchange" if talk.unseen == 1 else f"the oldest {talk.unseen} exchanges"
    render.warn(f"the context of {talk.llm.context_tokens} tokens is full: {oldest} are no longer shown to the model")


def _tell_use(talk: Talk, before: int) -> None:
    limit = talk.llm.context_tokens
    if talk.exchanges[-1].finish == "length" and talk.options["n_predict"] < 0:
        render.note(f"the context of {limit} tokens is full: /continue goes on, /clear starts anew")
        return
    for percent in _WARN_AT_PERCENT:
        if talk.used_tokens * 100 >= percent * limit > before * 100:
            used = 100 * talk.used_tokens // limit
            render.note(f"{used} % of the context of {limit} tokens are used: soon older exchanges are left out")
            return
