"""Scenes of `pacos chat` in tmux, whose screens docs/chat.md shows; `scripts/screens` writes them there."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from tmux_screen import TmuxScreen, tmux_screen

PAGE = Path(__file__).resolve().parent.parent / "docs" / "chat.md"
READY = "/1024 tokens"
DRAGON = "Tell me a story about a dragon."
GREEDY = ("chat", "--temp", "0", "-n", "40")
MARKDOWN = (
    r"""root ::= "# Sorting\n\nA **stable** sort keeps *equal* items in order:\n\n```python\ndef by_length(words):\n"""
    r'''    return sorted(words, key=len)  # stable\n```\n\n1. It compares keys,\n2. it never swaps equals.\n"'''
)
THINKER = "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ '<think>\n' }}"
_METER = re.compile(r"\d+/\d+ tokens[^\n]*\Z")
_PLACE = "<!-- a screen, by scripts/screens: {} -->\n"
_BLOCK = re.compile(r"<!-- a screen, by scripts/screens: (\w+) -->\n(`{3,})text\n(.*?)\n\2\n", re.DOTALL)


def ask(screen: TmuxScreen, question: str) -> str:
    """Type a question and wait for its answer: the prompt is there again, below."""
    screen.type(question)
    screen.until(question)
    screen.keys("Enter")
    return settled(screen, question)


def settled(screen: TmuxScreen, question: str) -> str:
    """All that was shown once the next question is awaited, with the line at the bottom."""
    screen.until(lambda seen: _METER.search(seen.rstrip()) is not None and waits(screen.shown(history=True), question))
    return screen.shown(history=True)


def begun(screen: TmuxScreen, question: str) -> None:
    """Wait for the first words of an answer, which may have scrolled away by now."""
    screen.until(lambda _: " a " in screen.shown(history=True).partition(f"{question}\n")[2])


def waits(seen: str, question: str) -> bool:
    """Whether the next question is awaited after that one."""
    return re.search(r"^>$", seen.partition(f"> {question}\n")[2], re.MULTILINE) is not None


def _question(folder: Path) -> str:
    with tmux_screen(*GREEDY, rows=16) as screen:
        screen.until(READY)
        ask(screen, DRAGON)
        screen.type("/se")
        return _from_question(screen.until(lambda seen: "/set " in seen and "tokens/s" in seen))


def _markdown(folder: Path) -> str:
    grammar = folder / "text.gbnf"
    grammar.write_text(MARKDOWN)
    with tmux_screen("chat", "--grammar-file", str(grammar), columns=60, rows=30) as screen:
        screen.until(READY)
        return _from_question(ask(screen, "How does sorting work?"))


def _narrow(folder: Path) -> str:
    with tmux_screen(*GREEDY, rows=20) as screen:
        screen.until(READY)
        screen.resize(34, 20)
        screen.until("\n0/1024 tokens")  # the line at the bottom without its bar
        return _from_question(ask(screen, DRAGON))


def _thoughts(folder: Path) -> str:
    template = folder / "thinker.jinja"
    template.write_text(THINKER)
    grammar = 'root ::= "A hedgehog eats little and asks for nothing."'
    arguments = ("--chat-template", str(template), "--reasoning-budget", "9", "--temp", "0", "--grammar", grammar)
    with tmux_screen("chat", *arguments, rows=18) as screen:
        screen.until(READY)
        return _from_question(ask(screen, "Which pet is easy to keep?"))


def _stopped(folder: Path) -> str:
    with tmux_screen("chat", "--temp", "0", "--ignore-eos", "--context-policy", "shift", rows=30) as screen:
        screen.until(READY)
        screen.type("Tell me a story.")
        screen.keys("Enter")
        begun(screen, "a story.")
        screen.keys("C-c")
        screen.until("stopped; /continue goes on")
        return _from_question(settled(screen, "Tell me a story."))


def _resumed(folder: Path) -> str:
    endless = ("chat", "--temp", "0", "--ignore-eos", "--context-policy", "shift")
    with tmux_screen(*endless, "-n", "24") as screen:
        screen.until(READY)
        ask(screen, DRAGON)
        screen.type("/set n_predict -1")
        screen.keys("Enter")
        screen.until("n_predict is -1")
        screen.type("And then?")
        screen.keys("Enter")
        begun(screen, "then?")
        os.kill(screen.pid, signal.SIGKILL)
    with tmux_screen("chat", "--continue", rows=20) as screen:
        return "$ pacos chat --continue\n" + screen.until(
            lambda seen: "> ask something" in seen and _METER.search(seen.rstrip()) is not None
        )


SCENES: dict[str, Callable[[Path], str]] = {
    "question": _question,
    "stopped": _stopped,
    "markdown": _markdown,
    "narrow": _narrow,
    "thoughts": _thoughts,
    "resumed": _resumed,
}


def played(name: str) -> str:
    """What a scene's screen shows at its end, without empty lines below."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, PACOS_HOME=f"{folder}/home"):
        Path(folder, "home").mkdir()
        return _compact(SCENES[name](Path(folder)))


def shown_in(page: str) -> dict[str, str]:
    """The screens that a page shows, by the names of their scenes."""
    return {found[1]: found[3] for found in _BLOCK.finditer(page)}


def with_screens(page: str, screens: dict[str, str]) -> str:
    """The page with other screens in the places of the old ones."""

    def block(found: re.Match[str]) -> str:
        text = screens[found[1]]
        fence = "````" if "```" in text else "```"
        return f"{_PLACE.format(found[1])}{fence}text\n{text}\n{fence}\n"

    return _BLOCK.sub(block, page)


def lasting(text: str) -> str:
    """What of a screen does not depend on how fast a machine is, or on where an answer was stopped."""
    text = re.sub(r"\d+ tokens/s.*", "N tokens/s", text)  # behind it is what there is room for
    text = re.sub(r"thought for \d+\.\d s", "thought for N s", text)
    if "stopped; /continue" in text:
        text = re.sub(r"(> Tell me a story\.\nOnce upon).*(stopped; /continue)", r"\1 ... \2", text, flags=re.DOTALL)
        text = re.sub(r"\n+[█░]+ \d+/", "\nN/", text)  # a long answer leaves no empty line above it
    return text


def _from_question(seen: str) -> str:
    return seen[seen.index("> ") :]


def _compact(seen: str) -> str:
    """The screen with one empty line where there are several, as above the line at the bottom."""
    return re.sub(r"\n{3,}", "\n\n", seen.rstrip())
