"""Markdown that is drawn while it is written: the same in the end however it comes, however small the screen."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from typing import Any

import pyte
import pytest
from rich.console import Console

from pacos.cli.talk.canvas import Canvas
from pacos.cli.talk.markdown import MarkdownStream
from pacos.cli.talk.rows import Rows
from pacos.cli.talk.screen import PlainLines

TEXT = '''
# Heading

Some **bold text**, *it*, `code`, a [link](https://example.com/x) and a <div> tag,
second line.

- one
- two **bold**
  - nested
- three

1. first
2. second
   ```python
   x = 1
   ```
3. third

```python
def f(x: int) -> str:
    """doc
    string"""
    return f"{x}"  # a comment

```
| name | value |
|------|------:|
| a    | 1     |
| bb   | 22    |

> quoted text
> more

~~~~
``` no end
~~~~
A last paragraph that is so long that it has to be broken somewhere, 2 ** 3 and **not closed
'''
SEEN = """Heading

Some bold text, it, code, a link
(https://example.com/x) and a <div> tag,
second line.

 • one
 • two bold
    • nested
 • three

 1. first
 2. second
    x = 1
 3. third

```python
def f(x: int) -> str:
    \"""doc
    string\"""
    return f"{x}"  # a comment

```

 name  value
 ───────────
 a         1
 bb       22

▌ quoted text
▌ more

~~~~
``` no end
~~~~

A last paragraph that is so long that it
has to be broken somewhere, 2 ** 3 and
**not closed"""


class Tmux(pyte.Screen):
    """Rows that leave the screen are kept, and what is erased from its corner too, as tmux does."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self.above: list[str] = []

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.above.append(self.display[0])
        super().index()

    def erase_in_display(self, how: int = 0, *args: Any, **options: Any) -> None:
        if how == 0 and (self.cursor.x, self.cursor.y) == (0, 0):
            self.above += "\n".join(self.display).rstrip("\n ").split("\n")
        super().erase_in_display(how, *args, **options)


class Screen:
    """A terminal in memory, and how much was written to it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self._screen = Tmux(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self.written = 0

    def write(self, text: str) -> None:
        self.written += len(text)
        self._stream.feed(text.replace("\x1b[?2026h", "").replace("\x1b[?2026l", ""))

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in [*self._screen.above, *self._screen.display]).rstrip("\n")


def show(text: str, piece: int, columns: int = 40, rows: int = 24, *, plain: bool = False) -> Screen:
    screen = Screen(columns, rows)
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", legacy_windows=False)
    canvas = Canvas(screen.write, lambda: screen.size)
    lines = PlainLines() if plain else MarkdownStream(console, lambda: columns)
    for start in range(0, len(text), piece):
        finished = lines.feed(text[start : start + piece])
        stay, change = lines.growing()
        canvas.draw([*finished, *stay], change)
    canvas.draw(lines.finish(), [])
    canvas.end()
    return screen


@pytest.mark.parametrize("piece", [1, 3, 17, 10_000])
@pytest.mark.parametrize("rows", [5, 24])
def test_it_looks_the_same_however_it_comes(piece: int, rows: int) -> None:
    assert show(TEXT, piece, rows=rows).text == SEEN


def test_what_is_finished_is_not_written_again() -> None:
    text = "A paragraph of some words.\n\n" * 100 + "```\n" + "line\n" * 100 + "```\n"
    screen = show(text, 4)
    assert screen.text.count("A paragraph of some words.") == 100
    assert screen.written < 40 * len(text)


def test_wide_screens_have_lines_that_can_be_read_and_wide_tables() -> None:
    words = "word " * 60
    row = "| " + " | ".join(["a long cell of many words"] * 6) + " |\n"
    lines = show(f"{words}\n\n{row}{'|---' * 6}|\n{row}", 50, columns=200).text.split("\n")
    assert 90 < len(lines[0]) <= 100
    assert max(map(len, lines)) > 140


def test_code_that_is_longer_than_the_screen_scrolls_line_by_line() -> None:
    text = "```python\n" + "".join(f"value_{i} = {i}\n" for i in range(300)) + "```\n"
    lines = show(text, 7, rows=10).text.split("\n")
    assert lines == ["```python", *(f"value_{i} = {i}" for i in range(300)), "```"]


WORDS = (
    *("a", "one", "two", "word", "snake_case", "2 * 3", "**bold**", "**bold words go on**", "*it*", "`a*b` c", "_x_"),
    *(
        "~~gone~~",
        "~5",
        "[link](http://a.b/c)",
        "[x]",
        "|",
        "&amp;",
        "a\\\\*b",
        "**open",
        "*open",
        "`open",
        "日本語。",
        "中文字，",
    ),
    *("https://a.bc/d", "<b>", "!", "- x", "word.\n", "word,\n"),
)


@pytest.mark.parametrize("seed", range(4))
def test_prose_of_any_words_looks_the_same_however_it_comes(seed: int) -> None:
    drawn = random.Random(seed)
    address = "https://example.com/a/path/that/is/longer/than/a/row/of/the/screen"
    text = " ".join([*drawn.choices(WORDS, k=25), "\n\n", *drawn.choices(WORDS[:9], k=15), address, "and more"])
    at_once = show(text, len(text), rows=9).text
    assert show(text, 3, rows=9).text == at_once


MARKS = ("*", "**", "_", "__", "~~", "`", "``", "[", "]", "|", "***", "](u)", "![", "\\", " ", "\n")


@pytest.mark.parametrize("seed", range(12))
def test_marks_that_nothing_closes_lose_nothing(seed: int) -> None:
    drawn = random.Random(seed)
    words = (f"{word} " if drawn.random() < 0.7 else word for word in drawn.choices(WORDS[:4], k=30))
    text = "".join(part for word in words for part in (word, drawn.choice(MARKS)))
    at_once, shown = (Counter(show(text, piece, 16).text) for piece in (len(text), 4))
    assert not {one: count for one, count in (at_once - shown).items() if not one.isspace()}


def test_a_line_that_becomes_something_else_is_shown_again_from_there() -> None:
    rows = Rows()
    assert rows.grow("one two three four", 8) == (["one two", "three"], ["four"])
    stay, change = rows.grow("one 2 three four", 8, whole=True)
    assert (stay, change) == (["2 three"], ["four"])


@pytest.mark.parametrize("plain", [False, True])
def test_prose_is_only_added_to_whatever_becomes_of_the_terminal(*, plain: bool) -> None:
    """What goes back would meet other rows where a terminal has just changed its size."""
    drawn = random.Random(1)
    letters = "abcdefghij"
    words = ["".join(drawn.choices(letters, k=drawn.randint(1, 11))) for _ in range(900)]
    text = " ".join(
        word + (".\n\n" if i % 200 == 199 else ".\n" if i % 70 == 69 else "") for i, word in enumerate(words)
    )
    size = (80, 24)
    written: list[str] = []
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", legacy_windows=False)
    canvas = Canvas(written.append, lambda: size)
    lines = PlainLines() if plain else MarkdownStream(console, lambda: size[0])
    start = 0
    while start < len(text):
        end = text.find(" ", start + drawn.randint(1, 12)) % (len(text) + 1)  # a word that grows may have to move
        finished = lines.feed(text[start:end])
        stay, change = lines.growing()
        canvas.draw([*finished, *stay], change)
        size = (drawn.randint(32, 120), drawn.randint(12, 40)) if drawn.random() < 0.05 else size
        start = end
    canvas.draw(lines.finish(), [])
    assert not [one for one in written if re.search(r"\x1b\[\d*A", one)]
    shown = re.sub(r"\x1b\[\?2026[hl]", "", "".join(written))
    shown = re.sub(r"^\r\x1b\[K", "", shown, flags=re.MULTILINE)  # of a row that is empty
    assert "\x1b" not in shown
    assert shown.split() == text.split()


def test_rows_of_bold_prose_go_on_in_bold() -> None:
    written: list[str] = []
    canvas = Canvas(written.append, lambda: (40, 10))
    canvas.draw([], ["\x1b[1mon\x1b[0m"])
    canvas.draw([], ["\x1b[1mone\x1b[0m two"])
    assert "".join(written).endswith("\x1b[?2026h\x1b[1me\x1b[0m two\x1b[?2026l")
    canvas.draw([], ["\x1b[1monly\x1b[0m two"])
    assert "\r\x1b[K\x1b[1monly" in written[-1]


def test_plain_text_stays_as_it_is() -> None:
    assert show("# a **b**\n\tc\n\n- d", 2, plain=True).text == "# a **b**\n        c\n\n- d"


def test_a_screen_that_became_narrower_is_drawn_where_it_was() -> None:
    screen = Screen(40, 10)
    written: list[str] = []
    size = [40, 10]
    canvas = Canvas(written.append, lambda: (size[0], size[1]))
    canvas.draw([], ["x" * 40])
    size[0] = 16  # the terminal breaks the line into three
    canvas.draw([], ["y"])
    assert "\r\x1b[2A\x1b[B\x1b[J\x1b[A\x1b[Ky" in written[-1]
    canvas.draw([], ["y"])
    assert len(written) == 2  # nothing changed, nothing is written
    assert screen.text == ""


def test_a_screen_that_became_lower_has_what_is_redrawn_once() -> None:
    screen = Screen(20, 4)
    rows = 6
    canvas = Canvas(screen.write, lambda: (20, rows))
    canvas.draw([], ["one", "two", "three", "four"])
    rows = 4  # the tail begins at the corner now
    canvas.draw([], ["One", "two", "three"])
    canvas.draw(["ONE", "two", "three", "four"], [])
    assert screen.text == "ONE\ntwo\nthree\nfour"


def test_a_backslash_that_breaks_a_line_is_not_shown() -> None:
    text = "Back\\\nslash, then more text follows.\nAn even number\\\\\nof them is text."
    for piece in (1, 7, 1000):
        assert show(text, piece).text == "Back\nslash, then more text follows.\nAn even number\\\nof them is text."


def test_an_image_is_told_where_it_stands() -> None:
    text = "See ![a cat](a.png) here, and more of it."
    for piece in (1, 7, 1000):
        assert show(text, piece).text == "See 🌆 a cat here, and more of it."


def test_what_would_act_on_the_terminal_is_not_shown() -> None:
    from pacos.cli.render import harmless

    assert harmless("a\x1b[2Jb\x07c\n\td\x9b") == "a[2Jbc\n\td"
