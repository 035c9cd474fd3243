"""What reaches a terminal and what does not."""

from __future__ import annotations

import io
import sys
import time

import pytest

from pacos.cli import render
from pacos.types import ContextUse, Timings


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def put_screens(monkeypatch: pytest.MonkeyPatch) -> tuple[Screen, Screen]:
    """Not a fixture: pytest puts its own streams there after those ran."""
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return out, err


def test_generated_text_cannot_act_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screens = put_screens(monkeypatch)
    speaker = render.Speaker()
    for piece in ("A\x1b[31m", "", "b\t\x07é\u202e", "\nend"):
        speaker.say(piece)
    speaker.end_line()
    speaker.end_line()
    assert screens[0].getvalue() == "A[31mb\té\u202e\nend\n"


def test_generated_text_reaches_a_file_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    speaker = render.Speaker()
    speaker.say("A\x1b[31m\x07")
    speaker.end_line()
    assert capsys.readouterr().out == "A\x1b[31m\x07"


def test_a_wait_shows_and_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    screens = put_screens(monkeypatch)
    monkeypatch.setattr(render, "_MOMENT_SECONDS", 0.01)
    with render.waiting("loading ..."):
        deadline = time.monotonic() + 5
        while "loading" not in screens[1].getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert screens[1].getvalue() == "\x1b[2mloading ...\x1b[0m\r\x1b[K"
    assert screens[0].getvalue() == ""


@pytest.mark.parametrize("how", ["short", "dumb", "no terminal"])
def test_a_wait_that_nobody_needs_to_see(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screens = put_screens(monkeypatch)
    monkeypatch.setattr(render, "_MOMENT_SECONDS", 30 if how == "short" else 0.001)
    if how == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if how == "no terminal":
        monkeypatch.setattr(Screen, "isatty", lambda self: False)
    with render.waiting("loading ..."):
        time.sleep(0.05)
    assert screens[1].getvalue() == ""


def test_notes_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    screens = put_screens(monkeypatch)
    render.note("dim\x1b")
    monkeypatch.setenv("NO_COLOR", "1")
    render.note("plain")
    monkeypatch.setattr(Screen, "isatty", lambda self: False)
    render.note("nothing")
    assert screens[1].getvalue() == "\x1b[2mdim\\x1b\x1b[0m\nplain\n"


def test_numbers_as_people_read_them() -> None:
    assert [render.size_text(size) for size in (0, 999, 1000, 3_972_256, 7e9, 2e15)] == (
        ["0 B", "999 B", "1.00 kB", "3.97 MB", "7.00 GB", "2000.00 TB"]
    )
    line = render.timings_line(Timings(20, 16, 0.5, 11, 2.0))
    assert line == "prompt 20 tokens (16 cached), 8.0 tokens/s; generated 11 tokens, 5.0 tokens/s"
    assert render.printable("a\nb\x00" + "c" * 300) == "a\\nb\\x00" + "c" * 195 + "…"


def test_what_was_forgotten_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    render.tell_context(ContextUse("error", 64, full=True))
    render.tell_context(None)
    assert capsys.readouterr().err == ""
    render.tell_context(ContextUse("shift", 64, 5, 2, 60))
    told = capsys.readouterr().err
    assert "5 tokens of the prompt were left out: the context holds 64" in told
    assert "full 2 times, and lost 60 older tokens" in told


def test_tables_align(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("name", "size"), [("a", 5), ("longer", 1000)])
    assert capsys.readouterr().out == "name    size\na          5\nlonger  1000\n"


def test_a_bar_shows_after_a_moment_and_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    screens = put_screens(monkeypatch)
    with render.progress("counting", 30) as done:
        done(10)
    assert screens[1].getvalue() == ""  # it was quick
    monkeypatch.setattr(render, "_MOMENT_SECONDS", 0.01)
    with render.progress("counting\x1b[31m", 30) as done:
        deadline = time.monotonic() + 5
        while "10/30" not in screens[1].getvalue() and time.monotonic() < deadline:
            done(10)
            time.sleep(0.01)
    shown = screens[1].getvalue()
    assert "counting\\x1b[31m" in shown
    assert shown.endswith("\x1b[2K")
    assert screens[0].getvalue() == ""


def test_a_dumb_terminal_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screens = put_screens(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(render, "_MOMENT_SECONDS", 0.0)
    with render.progress("counting", 3) as done, render.transfer() as moved:
        done(1)
        moved("file", 1, 2)
        time.sleep(0.05)
    assert screens[1].getvalue() == ""
