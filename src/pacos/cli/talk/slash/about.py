"""Commands that tell something: help, tokens, speeds, options, what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.cli import render
from pacos.cli.talk.slash import Next, Slash, commands, slash, tell, tell_rows
from pacos.errors import UsageError
from pacos.settings.option import shown

if TYPE_CHECKING:
    from pacos.cli.talk.room import Room

_KEYS = (
    ("Alt-Enter", 'begins a new line; so does a \\ at the end of one, and what lies between """ and """'),
    ("Ctrl-C", "stops the answer, which is kept; pressed again, ends the program"),
    ("Ctrl-D", "ends the talk"),
    ("Ctrl-T", "folds and unfolds thoughts"),
    ("Ctrl-R", "searches what you typed before; Up and Down go through it"),
    ("Ctrl-X Ctrl-E", "opens your editor for a long question"),
    ("//...", "sends a message that begins with a slash"),
)


def _names(room: Room, begun: str) -> list[tuple[str, str]]:
    return [(one.name, one.help) for one in commands().values()]


@slash("help", "[COMMAND]", other_names=("?",), values=_names)
def show_help(room: Room, rest: str) -> None:
    """Show all commands, or more about one."""
    if not rest:
        tell_rows((f"/{one.name} {one.arguments}".rstrip(), one.help) for one in commands().values())
        tell()
        tell_rows(_KEYS)
        return
    found = commands().get(rest.lstrip("/"))
    if found is None:
        raise UsageError(f"no command {rest[:40]!r}", hint="/help lists all")
    _explain(found)


def _explain(one: Slash) -> None:
    tell(f"/{one.name} {one.arguments}".rstrip() + f": {one.help[:1].lower()}{one.help[1:]}")
    if one.other_names:
        tell(f"also {', '.join('/' + name for name in one.other_names)}")
    more = (one.run.__doc__ or "").partition("\n")[2].split()
    if more:
        tell(" ".join(more))


@slash("quit", other_names=("exit", "bye", "q"))
def end_talk(room: Room, rest: str) -> Next:
    """End the talk."""
    return Next.END


@slash("tokens")
def count_tokens(room: Room, rest: str) -> None:
    """Count the tokens of the conversation and of its parts."""
    talk = room.talk
    rows: list[tuple[str, Any]] = [("system", _count(room, talk.system))] if talk.system else []
    for number, one in enumerate(talk.exchanges, 1):
        hidden = " (not shown to the model)" if number <= talk.unseen else ""
        rows.append((f"question {number}", f"{_count(room, one.sent)}{hidden}"))
        if one.answer:
            rows.append((f"answer {number}", _count(room, one.answer)))
    limit = talk.llm.context_tokens
    used = len(talk.llm.prompt_tokens(talk.messages(), **talk.answering)) if talk.messages() else 0
    rows.append(("in all", f"{used} of {limit} tokens of context ({100 * used // limit} %)"))
    tell_rows((name, str(value)) for name, value in rows)


def _count(room: Room, text: str) -> int:
    return len(room.talk.llm.tokenize(text, add_special=False))


@slash("stats")
def show_speeds(room: Room, rest: str) -> None:
    """Show speeds of the last answer and of all."""
    talk = room.talk
    timings = talk.exchanges[-1].timings if talk.exchanges else None
    if timings is not None:
        tell(f"last answer: {render.timings_line(timings)}")
    all_of = talk.totals
    tell(
        f"all {all_of.answers} answers here: {all_of.prompt_tokens} tokens of prompts, {all_of.cached_tokens} of them "
        f"from the cache, read in {all_of.prompt_seconds:.2f} s; {all_of.generated_tokens} tokens generated "
        f"in {all_of.generate_seconds:.2f} s"
    )
    if talk.llm.cache_bytes:
        tell(f"memory beside the file: {render.size_text(talk.llm.cache_bytes)}")


@slash("params")
def show_options(room: Room, rest: str) -> None:
    """Show what differs from the defaults: model, template, system message, options."""
    talk = room.talk
    rows = [("model", talk.model), ("template", talk.template or "the model's own")]
    rows += [("system", render.printable(talk.system))] if talk.system else []
    rows += [("template variables", shown(talk.template_options))] if talk.template_options else []
    rows += [(name, shown(value)) for name, value in talk.chosen_options().items()]
    tell_rows(rows)


@slash("history")
def show_history(room: Room, rest: str) -> None:
    """Show the conversation again."""
    room.show_exchanges(room.talk.exchanges)


@slash("thoughts")
def show_thoughts(room: Room, rest: str) -> None:
    """Show what the model thought before its last answer."""
    thought = room.talk.last().thought.strip()
    tell(render.harmless(thought) or "it thought nothing, or nothing apart", dim=bool(thought))
