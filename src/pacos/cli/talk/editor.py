"""The editor of questions on a terminal: history, several lines, completion, and a line that tells how things stand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pacos.cli import render
from pacos.cli.talk.plain import QUOTES, is_whole, unquoted, until_ended
from pacos.cli.talk.slash import tell
from pacos.settings import places

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from pacos.cli.talk.room import Room

_HISTORY_BYTES_MAX = 4 << 20
_BAR_CELLS = 10
_LEAST_SHOWN, _MOST_SHOWN = 12, 40  # characters of one thing


def edited_questions(room: Room) -> Iterator[str]:
    """What is typed, until Ctrl-D or a second Ctrl-C."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.output import ColorDepth
    from prompt_toolkit.styles import Style

    from pacos.cli.talk.completion import completer

    plain = bool(os.environ.get("NO_COLOR"))
    grey = "" if plain else "fg:ansibrightblack"
    session: PromptSession[str] = PromptSession(
        history=_history(keep=not room.talk.keeper.off),
        completer=completer(room),
        complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
        key_bindings=_bindings(room),
        multiline=True,
        prompt_continuation="  ",
        bottom_toolbar=lambda: status(room, session.app.output.get_size().columns),
        enable_open_in_editor=True,
        tempfile_suffix=".md",
        color_depth=ColorDepth.DEPTH_1_BIT if plain else None,
        style=Style.from_dict({"bottom-toolbar": f"noreverse {grey}", "placeholder": grey}),
    )
    session.app.renderer.cpr_not_supported_callback = None  # a terminal that cannot tell needs no warning
    hints = iter([] if plain else ["ask something, or type /help"])

    def ask() -> str:
        hint = next(hints, "")
        return unquoted(
            session.prompt([("bold", "> ")], default=room.talk.draft, placeholder=[("class:placeholder", hint)])
        )

    yield from until_ended(ask)


def _history(*, keep: bool) -> History:
    """What was typed before, for this user alone; nothing is left where nothing shall be kept."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = places.state_folder() / "chat_history"
    try:
        if keep:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            if path.stat().st_size > _HISTORY_BYTES_MAX:
                path.replace(path.with_name("chat_history.old"))
            return FileHistory(path)
    except OSError as error:
        render.warn(f"what you type is not remembered: {path}: {error.strerror}")
    return InMemoryHistory()


def _bindings(room: Room) -> KeyBindings:
    from prompt_toolkit.application import run_in_terminal
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        """Send a question that is whole, else begin a new line."""
        buffer = event.current_buffer
        if is_whole(buffer.text):
            buffer.validate_and_handle()
            return
        if not buffer.text.lstrip().startswith(QUOTES) and buffer.document.is_cursor_at_the_end:
            buffer.delete_before_cursor()  # the backslash
        buffer.insert_text("\n")

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        """Begin a new line."""
        event.current_buffer.insert_text("\n")

    @bindings.add("c-t")
    def _(event: KeyPressEvent) -> None:
        """Fold or unfold thoughts, the last one too."""
        room.look.toggle_thoughts()
        run_in_terminal(lambda: _show_thoughts(room))

    return bindings


def _show_thoughts(room: Room) -> None:
    last = room.talk.exchanges[-1] if room.talk.exchanges else None
    if room.look.thoughts and last is not None and last.thought:
        tell(render.harmless(last.thought.strip()), dim=True)
    tell(f"thoughts are {'shown' if room.look.thoughts else 'folded'} from now on", dim=True)


def status(room: Room, columns: int) -> str:
    """One line: the context in use, the speed, the model, the conversation, files; as much as there is room for."""
    talk = room.talk
    limit = talk.llm.context_tokens
    used = min(talk.used_tokens, limit)  # of a longer conversation not all is shown to the model
    share = used / limit
    bar = "█" * round(share * _BAR_CELLS) + "░" * (_BAR_CELLS - round(share * _BAR_CELLS))
    timings = talk.exchanges[-1].timings if talk.exchanges else None
    rate = timings.generate_rate if timings is not None else 0.0
    files = ", ".join(name for name, _ in talk.files)
    kept = talk.keeper.title or ("not kept" if talk.keeper.off else "")
    parts = (
        f"{used}/{limit} tokens",
        f"+ {files}" if files else "",
        f"{rate:.0f} tokens/s" if rate else "",
        talk.model.rpartition("/")[2],
        kept,
    )
    line = f"{bar} {parts[0]}" if columns >= 40 else parts[0]
    for part in filter(None, parts[1:]):
        left = columns - len(line) - len(" · ") - 1
        if left >= min(len(part), _LEAST_SHOWN):
            line += f" · {render.printable(part, min(left, _MOST_SHOWN))}"
    return line
