"""The program on a terminal: notes and progress, a typed conversation, Ctrl-C, a dumb terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import PROGRAM, STORYTELLER, environment
from patience import SECONDS

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name != "posix", reason="terminals are another matter elsewhere")]
_OWN_TERMINAL = (  # so that Ctrl-C reaches the program; not by preexec_fn, which threads do not bear
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A program on a pseudo-terminal, and everything that it showed."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self.fd = fd
        self.raw = ""

    @property
    def seen(self) -> str:
        """What was shown, without escape sequences."""
        return ESCAPES.sub("", self.raw)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, words: str, times: int = 1) -> str:
        """Read until the words were seen so often, or the program ended."""
        deadline = time.monotonic() + SECONDS
        while self.seen.count(words) < times:
            assert time.monotonic() < deadline, f"waited for {words!r}, saw {self.seen!r}"
            ended = self.process.poll() is not None  # before reading: what it wrote last must be read too
            if not self._read(0.2) and ended:
                break
        assert self.seen.count(words) >= times, self.seen
        return self.seen

    def settle(self) -> None:
        """Read until the program waits: between its prompt and its first look at the keys Python misses Ctrl-C."""
        waits = 0
        while waits < 5:
            waits = 0 if self._read(0.1) or self._computes() else waits + 1

    def _computes(self) -> bool:
        """Whether the system says that its first thread has work to do; where it says nothing, time must do."""
        state = Path(f"/proc/{self.process.pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "S"

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + SECONDS
        ended = False
        while (self._read(0.2) or not ended) and time.monotonic() < deadline:
            ended = self.process.poll() is not None  # then once more: what it wrote last
        return self.process.wait(timeout=1)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.fd, 4096)
        except OSError:  # Linux says so when the other side is gone
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)


@contextmanager
def terminal(*arguments: str, columns: int = 80, **variables: str) -> Iterator[Terminal]:
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    process = subprocess.Popen(
        [sys.executable, "-c", _OWN_TERMINAL, *PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**{"TERM": "xterm", **variables}),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_run_tells_its_speed() -> None:
    with terminal("run", "--seed", "1", "-n", "12") as screen:
        assert screen.end() == 0
    assert "no prompt given, using: Tell me a story.\n" in screen.seen
    assert "\nprompt " in screen.seen  # on a line of its own, although the answer ended in the middle of one
    assert "generated 12 tokens" in screen.seen


def test_a_full_context_is_told() -> None:
    with terminal("run", "--seed", "1", "--ignore-eos", "-c", "64") as screen:
        assert screen.end() == 0
    assert "the context of 64 tokens is full" in screen.seen


def test_no_colour_and_dumb_terminals_get_plain_text() -> None:
    with terminal("run", "nosuch", TERM="dumb") as screen:
        assert screen.end() == 3
    assert "\x1b" not in screen.raw
    assert screen.seen.startswith("error: no model")


def test_errors_are_broken_at_words_in_a_narrow_terminal() -> None:
    name = "some/folder/that/has/a/long/name/model.gguf"
    with terminal("run", name, "-p", "Hi", columns=40) as screen:
        assert screen.end() == 3
    lines = screen.seen.splitlines()
    assert len(lines) > 1
    assert any(name in line for line in lines)  # in one piece, for copying
    assert all(len(line) <= 40 for line in lines if name not in line)


def test_a_conversation() -> None:
    with terminal("chat", "--simple-io", "--temp", "0", "-n", "12") as screen:
        screen.until("> ")
        assert "context 1024 tokens" in screen.seen
        screen.type("Tell me a story about a dragon.\n")
        screen.until("generated 12 tokens")
        assert "Once upon a time" in screen.seen
        screen.until("> ", 2)
        screen.type("/clear\n")
        screen.until("a new conversation")
        screen.until("> ", 3)
        screen.type("/exit\n")
        assert screen.end() == 0


def test_ctrl_c_stops_the_answer_and_not_the_conversation() -> None:
    endless = ("--seed", "1", "--ignore-eos", "-c", "100000", "--rope-scale", "100")
    with terminal("chat", *endless, TERM="dumb") as screen:
        screen.until("> ")
        screen.type("Tell me a story.\n")
        screen.until(" a ", 3)
        screen.type("\x03")
        screen.until("tokens/s")
        screen.until("> ", 2)
        screen.type("/bye\n")
        assert screen.end() == 0


def test_ctrl_c_twice_and_ctrl_d_end_a_conversation() -> None:
    with terminal("chat", "--simple-io") as screen:
        screen.until("> ")
        screen.settle()
        screen.type("half a line\x03")
        screen.until("Ctrl-C again")
        screen.until("> ", 2)
        screen.settle()
        screen.type("\x03")
        assert screen.end() == 130
    with terminal("chat", "--simple-io") as screen:
        screen.until("> ")
        screen.type("\x04")
        assert screen.end() == 0
    assert "Traceback" not in screen.seen


def test_ctrl_c_stops_a_run() -> None:
    with terminal("run", "--seed", "1", "--ignore-eos", "-c", "100000", "--rope-scale", "100") as screen:
        screen.until(" a ", 3)
        screen.type("\x03")
        assert screen.end() == 130
    assert "generated" in screen.seen
    assert "Traceback" not in screen.seen


def test_a_terminal_that_goes_away_ends_the_program() -> None:
    with terminal("chat", "--simple-io") as screen:
        screen.until("> ")
        screen.process.send_signal(signal.SIGHUP)
        assert screen.end() != 0


def test_tokens_are_listed_with_their_pieces() -> None:
    with terminal("tokenize", "storyteller", "Once upon") as screen:
        assert screen.end() == 0
    assert "b' upon'" in screen.seen


def test_a_model_that_is_not_here_is_pulled_when_the_user_says_so(tmp_path: Path) -> None:
    from fake_hub import fake_hub

    with fake_hub() as hub:
        weights = STORYTELLER.read_bytes()
        hub.repos["org/tale"] = {"tale-Q8_0.gguf": weights, "tale-Q4_0.gguf": weights + b"."}
        variables = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "PACOS_HOME": str(tmp_path)}
        with terminal("run", "org/tale:q8_0", "-p", "Hi", "-n", "4", columns=200, **variables) as screen:
            screen.until("org/tale:q8_0 is not here\npull it now? (org/tale:Q8_0, 3.97 MB) [Y/n]: ")
            screen.type("n\n")
            assert screen.end() == 3
        assert "`pacos pull org/tale:q8_0` downloads it" in screen.seen
        with terminal("chat", "--simple-io", "org/tale", "-n", "4", columns=200, **variables) as screen:
            screen.until("* Q4_0                        3.97 MB\n  Q8_0                        3.97 MB\npull it now?")
            screen.type("\n")
            screen.until("context 1024 tokens")
            screen.type("/exit\n")
            assert screen.end() == 0
        with terminal("run", "org/tale", "-p", "Hi", "-n", "4", columns=200, **variables) as screen:
            assert screen.end() == 0
        assert "is not here" not in screen.seen
        with terminal("run", "org/nosuch", "-p", "Hi", columns=200, **variables) as screen:
            assert screen.end() == 3
        assert "it cannot be pulled: org/nosuch: it is private, or does not exist" in screen.seen
        with terminal("run", "org/more", "-p", "Hi", "--offline", columns=200, **variables) as screen:
            assert screen.end() == 3
        assert "`pacos pull org/more` downloads it" in screen.seen


def test_a_pull_shows_how_far_and_how_fast_it_is(tmp_path: Path) -> None:
    from fake_hub import Fault, fake_hub

    with fake_hub() as hub:
        hub.repos["org/tale"] = {"tale.gguf": bytes(600_000)}
        hub.faults["/cdn/"] = [Fault(slow_seconds=0.02)]
        variables = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "PACOS_HOME": str(tmp_path)}
        with terminal("pull", "org/tale", **variables) as screen:
            assert screen.end() == 0
    assert re.search(r"tale\.gguf.*[\d.]+/600\.0 kB.*[\d.]+ [kM]?B/s.*\d:\d\d", screen.seen.replace("\n", " "))
    assert "org/tale/tale.gguf  " in screen.seen
