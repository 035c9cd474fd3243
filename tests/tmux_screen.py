"""A program in tmux: keys go in, the screen is read until it shows what is waited for."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import PROGRAM, environment
from patience import SECONDS

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
_numbers = itertools.count()
_SETTINGS = "set -g status off\nset -g escape-time 0\nset -g history-limit 20000\n"
_PROGRAM = """trap : INT; sh -c 'echo $$ > "$0"; exec "$@"' {pid_file} {program}; echo "(ended with $?)"; sleep 600"""


class TmuxScreen:
    """One window of a server of its own."""

    def __init__(self, server: str, pid_file: Path) -> None:
        self._server = server
        self._pid_file = pid_file

    def keys(self, *names: str) -> None:
        """Press keys by tmux's names, such as Enter and C-c."""
        self._tmux("send-keys", *names)

    def type(self, text: str) -> None:
        """Press the keys of a text."""
        self._tmux("send-keys", "-l", text)

    def paste(self, text: str) -> None:
        """Paste as a terminal does that tells a program so."""
        self._tmux("set-buffer", text)
        self._tmux("paste-buffer", "-p")

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def shown(self, *, history: bool = False, joined: bool = False) -> str:
        """The screen, on demand with all that scrolled away, and lines that were broken joined."""
        more = [*(["-S", "-"] if history else []), *(["-J"] if joined else [])]
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p", *more).split("\n"))

    def until(self, wanted: str | Callable[[str], bool]) -> str:
        """Wait until the screen shows a text, or is as it should be."""
        deadline = time.monotonic() + SECONDS
        while True:
            seen = self.shown()
            if wanted in seen if isinstance(wanted, str) else wanted(seen):
                return seen
            assert time.monotonic() < deadline, f"waited for {wanted!r}, saw:\n{self.shown(history=True)}"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())

    def end(self) -> int:
        """Wait for the program to end; its exit code."""
        seen = self.until(lambda seen: re.search(r"^\(ended with \d+\)$", seen, re.MULTILINE) is not None)
        return int(re.findall(r"ended with (\d+)", seen)[-1])

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-L", self._server, *arguments], capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def tmux_screen(*arguments: str, columns: int = 80, rows: int = 24, **variables: str) -> Iterator[TmuxScreen]:
    """Run `pacos` in a window of that size; variables come on top of this process's."""
    server = f"pacos-test-{os.getpid()}-{next(_numbers)}"
    given = {**environment(), "LANG": "C.UTF-8", **variables}
    for name in ("TERM", "TMUX", "COLUMNS", "LINES", *(name for name in ("NO_COLOR",) if name not in variables)):
        given.pop(name, None)
    folder = Path(given["PACOS_HOME"])
    (folder / "tmux.conf").write_text(_SETTINGS)
    pid_file = folder / f"{server}.pid"
    size = ("-x", str(columns), "-y", str(rows))
    start = ["tmux", "-L", server, "-u", "-f", str(folder / "tmux.conf"), "new-session", "-d", *size]
    command = _PROGRAM.format(pid_file=shlex.quote(str(pid_file)), program=shlex.join([*PROGRAM, *arguments]))
    try:
        subprocess.run([*start, command], env=given, check=True, timeout=SECONDS)
        yield TmuxScreen(server, pid_file)
    finally:
        subprocess.run(["tmux", "-L", server, "kill-server"], capture_output=True, timeout=SECONDS)
