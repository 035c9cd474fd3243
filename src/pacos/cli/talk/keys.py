"""Keys that are pressed while an answer comes: Ctrl-T is obeyed at once, all others wait for the next question."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_TOGGLE = b"\x14"  # Ctrl-T


class Keys:
    """Looks at the keyboard without waiting, and remembers what is not for it."""

    def __init__(self, fd: int, toggle: Callable[[], object]) -> None:
        self._fd = fd
        self._toggle = toggle
        self.typed = b""

    def poll(self) -> None:
        """Take what was typed since the last look."""
        while select.select([self._fd], [], [], 0)[0]:
            piece = os.read(self._fd, 4096)
            if not piece:
                return
            for _ in range(piece.count(_TOGGLE)):
                self._toggle()
            self.typed += piece.replace(_TOGGLE, b"")


@contextmanager
def listening(toggle: Callable[[], object]) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Keep the terminal from printing keys; gives what polls them, and what restores the terminal in a hurry.

    Where there are no such terminals, as on Windows, neither does anything.
    """
    try:
        import termios
    except ImportError:
        yield (lambda: None), (lambda: None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def restore() -> None:
        termios.tcsetattr(fd, termios.TCSANOW, before)

    quiet: list[Any] = [*before]
    quiet[3] = before[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH  # Ctrl-C shall not lose what was typed
    keys = Keys(fd, toggle)
    try:
        termios.tcsetattr(fd, termios.TCSANOW, quiet)
        yield keys.poll, restore
    finally:
        restore()
        if keys.typed:
            _type_later(keys.typed)


def _type_later(typed: bytes) -> None:
    """Hand keys to the next prompt."""
    from prompt_toolkit.application.current import get_app_session
    from prompt_toolkit.input.typeahead import store_typeahead
    from prompt_toolkit.input.vt100_parser import Vt100Parser
    from prompt_toolkit.key_binding.key_processor import KeyPress

    presses: list[KeyPress] = []
    parser = Vt100Parser(presses.append)
    parser.feed_and_flush(typed.decode(errors="replace"))
    store_typeahead(get_app_session().input, presses)
