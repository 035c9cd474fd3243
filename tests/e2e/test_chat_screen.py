"""`pacos chat` on a real terminal, as a person sees it: tmux holds the screen."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from pathlib import Path

import pytest
from chat_scenes import MARKDOWN, THINKER, ask, begun, waits
from commands import STORYTELLER, here
from fake_hub import fake_hub
from tmux_screen import needs_tmux, tmux_screen

from pacos.sessions import Sessions

pytestmark = [pytest.mark.e2e, needs_tmux]
SHORT = ("chat", "--temp", "0", "-n", "12")
ENDLESS = ("chat", "--seed", "1", "--ignore-eos", "-c", "100000", "--rope-scale", "100")
READY = "0/1024 tokens"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Conversations and history of each test's own."""
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    return tmp_path


def questions() -> list[str]:
    """What was asked in the latest conversation, as it was kept."""
    with Sessions() as sessions:
        latest = sessions.latest()
        return [] if latest is None else [one.content for one in sessions.path(latest.id) if one.role == "user"]


def test_a_question_and_its_answer() -> None:
    with tmux_screen(*SHORT) as screen:
        first = screen.until(READY)
        assert "storyteller · llama · Q8_0" in first
        assert "/help lists the commands" in first
        ask(screen, "Tell me a story about a dragon.")
        seen = screen.until("tokens/s")
        assert "> Tell me a story about a dragon.\nOnce upon a time, there was a" in seen
        assert re.search(r"^█*░+ \d+/1024 tokens · \d+ tokens/s · storyteller · Tell me a story", seen, re.MULTILINE)
        screen.keys("C-d")
        assert screen.end() == 0


def test_ctrl_c_stops_and_keeps_an_answer_and_then_quits() -> None:
    with tmux_screen(*ENDLESS) as screen:
        screen.until("0/100000 tokens")
        screen.type("Tell me a story.")
        screen.keys("Enter")
        screen.until(lambda seen: seen.count(" a ") > 5)
        screen.type("typed ahead")
        screen.keys("C-c")
        screen.until("stopped; /continue goes on")
        screen.until("> typed ahead")
        screen.keys("C-c")
        screen.until("Ctrl-C again")
        screen.keys("C-c")
        assert screen.end() == 130
        assert "Traceback" not in screen.shown(history=True)
    with Sessions() as sessions:
        latest = sessions.latest()
        assert latest is not None
        answer = sessions.path(latest.id)[-1]
    assert answer.role == "assistant"
    assert answer.details["finish_reason"] == "cancelled"
    assert len(answer.content) > 50


def test_nothing_is_lost_when_it_is_killed() -> None:
    with tmux_screen(*ENDLESS, "-n", "30") as screen:
        screen.until("0/100000 tokens")
        ask(screen, "Tell me about a cat.")
        screen.type("/set n_predict -1")
        screen.keys("Enter")
        screen.until("n_predict is -1")
        screen.type("And about a dog?")
        screen.keys("Enter")
        begun(screen, "And about a dog?")
        os.kill(screen.pid, signal.SIGKILL)
    assert questions() == ["Tell me about a cat.", "And about a dog?"]
    with tmux_screen("chat", "--continue", "-n", "5", "-c", "100000", "--rope-scale", "100") as screen:
        seen = screen.until("/100000 tokens")
        assert "going on with 'Tell me about a cat.': 2 questions" in seen
        assert "/retry asks it again" in seen
        screen.type("/retry")
        screen.keys("Enter")
        screen.until("tokens/s")
        screen.keys("C-d")
        assert screen.end() == 0
    with Sessions() as sessions:
        latest = sessions.latest()
        assert latest is not None
        assert [one.role for one in sessions.path(latest.id)] == ["user", "assistant"] * 2


def test_an_end_from_outside_leaves_the_terminal_as_it_was() -> None:
    with tmux_screen(*ENDLESS) as screen:
        screen.until("0/100000 tokens")
        os.kill(screen.pid, signal.SIGTERM)
        assert screen.end() == 143
        assert "Traceback" not in screen.shown(history=True)
    with tmux_screen(*ENDLESS) as screen:
        screen.until("0/100000 tokens")
        screen.type("Tell me a story.")
        screen.keys("Enter")
        screen.until(lambda seen: seen.count(" a ") > 5)
        os.kill(screen.pid, signal.SIGTERM)
        assert screen.end() == 143
        screen.type("echoed")
        screen.until("echoed")
    with Sessions() as sessions:
        latest = sessions.latest()
        assert latest is not None
        assert [one.role for one in sessions.path(latest.id)] == ["user", "assistant"]


def test_the_terminal_changes_its_size_while_an_answer_comes() -> None:
    with tmux_screen(*ENDLESS) as screen:
        screen.until("0/100000 tokens")
        screen.type("Tell me a story.")
        screen.keys("Enter")
        for columns, rows in ((40, 24), (100, 12), (60, 30)):
            before = len(screen.shown(history=True))
            screen.resize(columns, rows)
            screen.until(lambda seen, before=before: len(screen.shown(history=True)) > before + 500)  # type: ignore[misc]
        screen.keys("C-c")
        screen.until("stopped")
        seen = " ".join(screen.shown(history=True, joined=True).split())
    with Sessions() as sessions:
        latest = sessions.latest()
        assert latest is not None
        words = sessions.path(latest.id)[-1].content.split()
    assert f"Tell me a story. {' '.join(words)} stopped" in seen  # nothing is lost, nothing is drawn twice


def test_a_pasted_text_of_several_lines_is_one_question() -> None:
    text = "one\ntwo\n\nthree"
    with tmux_screen(*SHORT) as screen:
        screen.until(READY)
        screen.paste(text)
        screen.until("three")
        assert questions() == []
        screen.keys("Enter")
        screen.until("tokens/s")
        screen.type("first")
        screen.keys("M-Enter")
        screen.type("second\\")
        screen.keys("Enter")
        screen.type("third")
        screen.until("third")
        screen.keys("Enter")
        screen.until(lambda seen: waits(seen.replace("  third", "> third"), "third"))
    assert questions() == [text, "first\nsecond\nthird"]


def test_what_was_typed_is_remembered_by_the_next_talk(home: Path) -> None:
    with tmux_screen(*SHORT) as screen:
        screen.until(READY)
        ask(screen, "Who is Lily?")
        screen.keys("C-d")
        screen.end()
    with tmux_screen(*SHORT, "--no-save") as screen:
        screen.until("not kept")
        screen.keys("Up")
        ask(screen, "secret")
    with tmux_screen(*SHORT) as screen:
        screen.until(READY)
        screen.keys("Up")
        screen.until("> Who is Lily?")
    assert (home / "state" / "chat_history").stat().st_mode & 0o077 == 0


def test_commands_and_values_are_completed() -> None:
    with tempfile.TemporaryDirectory() as folder, tmux_screen(*SHORT) as screen:  # a short path, that fits the menu
        Path(folder, "notes.txt").write_text("It was dark.")
        screen.until(READY)
        screen.type("/se")
        seen = screen.until("/sessions")
        assert "/set" in seen
        screen.type("t reasoning_e")
        screen.until("How hard to think")
        screen.keys("Tab")
        screen.type(" hi")
        screen.until("> /set reasoning_effort hi")
        screen.keys("Tab")
        screen.until("> /set reasoning_effort high")
        screen.keys("Enter")
        screen.until("reasoning_effort is 'high'")
        screen.type(f"/file {folder}/no")
        screen.until("notes.txt")
        screen.keys("Tab", "Enter")
        screen.until(r"tokens go with the next question")
        screen.until("+ notes.txt")


def test_what_is_told_in_a_narrow_window_is_broken_at_words() -> None:
    line = ("chat", "-c", "64", "--context-policy", "shift", "--ignore-eos", "-n", "100", "--seed", "1", "--no-save")
    with tmux_screen(*line, columns=28, rows=30) as screen:
        screen.until("0/64 tokens")
        seen = ask(screen, "Tell me a story.")
        assert "\nwarning: the context of 64\ntokens was full 2 times, and\nlost 64 older tokens\n" in seen
        used = re.search(r"^(\d+)/64 tokens", seen, re.MULTILINE)
        assert used is not None and int(used[1]) <= 64


def test_the_banner_tells_the_size_that_the_list_does() -> None:
    size = next(line for line in here("list").out.splitlines() if line.startswith("storyteller")).split()[1]
    with tmux_screen("chat", "--no-save") as screen:
        assert f"storyteller · llama · Q8_0 · {size} MB" in screen.until(READY)


def test_markdown_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "text.gbnf").write_text(MARKDOWN)
    arguments = ("chat", "--grammar-file", str(tmp_path / "text.gbnf"))
    for columns in (40, 80, 200):
        with tmux_screen(*arguments, columns=columns, rows=30) as screen:
            screen.until(READY)
            seen = ask(screen, "How?")
            assert "\nSorting\n\nA stable sort keeps equal items in" in seen
            assert "\n```python\ndef by_length(words):\n    return sorted(words, key=len)" in seen
            assert "\n 1. It compares keys,\n 2. it never swaps equals.\n" in seen
            colored = screen._tmux("capture-pane", "-p", "-e")
            assert re.search("\x1b\\[[0-9;]*[39][1-7]m(\x1b\\[[0-9;]*m)*return", colored)
    with tmux_screen(*arguments, NO_COLOR="1") as screen:
        screen.until(READY)
        ask(screen, "How?")
        colored = screen._tmux("capture-pane", "-p", "-e")
        assert not re.search("\x1b\\[[0-9;]*(3[0-7]|9[0-7])m", colored)
        assert "\x1b[1;4mSorting" in colored


def test_thoughts_are_folded_and_unfolded(tmp_path: Path) -> None:
    template = tmp_path / "thinker.jinja"
    template.write_text(THINKER)
    with tmux_screen(
        *("chat", "--chat-template", str(template), "--reasoning-budget", "9", "-n", "40", "--seed", "3")
    ) as screen:
        screen.until(READY)
        seen = ask(screen, "A pet.")
        assert re.search(r"^▸ thought for \d+\.\d s \(/thoughts shows it\)$", seen, re.MULTILINE)
        assert "Once upon" not in seen
        screen.keys("C-t")
        seen = screen.until("thoughts are shown from now on")
        assert "Once upon" in seen
        screen.type("A cat.")
        screen.keys("Enter")
        screen.until(lambda seen: waits(seen, "A cat."))
        assert "▸ thought" not in screen.shown().partition("> A cat.")[2]


def test_another_model_that_is_not_here_is_pulled_when_the_user_says_so() -> None:
    with fake_hub() as hub:
        hub.repos["org/tale"] = {"tale-Q8_0.gguf": STORYTELLER.read_bytes()}
        with tmux_screen(*SHORT, columns=100, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0") as screen:
            screen.until(READY)
            for keys, then in ((["n", "Enter"], "downloads it"), (["C-c"], "stopped"), (["y", "Enter"], "trained on")):
                screen.type("/model org/tale:q8_0")
                screen.keys("Enter")
                screen.until("pull it now? (org/tale:Q8_0, 3.97 MB) [Y/n]:")
                screen.keys(*keys)
                screen.until(lambda seen, then=then: re.search(f"{then}(.|\n)*^>$", seen, re.MULTILINE) is not None)  # type: ignore[misc]
                screen.keys("C-l")
                screen.until(lambda seen: "pull it now" not in seen)
            screen.until("/1024 tokens · tale:q8_0")
            ask(screen, "Who is Lily?")
