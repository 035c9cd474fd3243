"""Markdown that is still being written: finished blocks become lines once, the last one anew with each piece.

A code block's lines are finished one by one, a list's items too, so that only a paragraph or a table has to wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from pacos.cli.talk.canvas import STYLE
from pacos.cli.talk.rows import Rows

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from rich.console import Console
    from rich.text import Text

PROSE_COLUMNS_MAX = 100  # longer lines are hard to read
_OPENING = re.compile(r"( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)\n")
_BLANK = re.compile(r"(?:[ \t]*\n)+")
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
_ERROR = "underline red"
_LISTS = ("bullet_list_open", "ordered_list_open")
_MARKS = re.compile(r"\*+|_+|~~+|~$|[\[|`]|\\$|<(?=[A-Za-z][^\s<>]*$)|&(?=#?\w*$)")  # that may begin something
_TEXT = re.compile(r"[^\s=:|-]")  # what is under a heading or a table's first row has none
_UNSURE_CHARACTERS = 5  # so much of a block's start may still belong to the one before: "2" becomes "2. two"
_IMAGE = "🌆 "
_WINDOW_LINES = 200  # of code, at most, that are looked at for the colours of the next one


@dataclass(slots=True)
class _Fence:
    """An open code block; `code` is what the colours of the next line depend on."""

    indent: int
    marker: str
    language: str
    code: str = ""

    def is_closed_by(self, line: str) -> bool:
        found = re.fullmatch(r" {0,3}(`{3,}|~{3,})[ \t]*", line)
        return found is not None and found[1].startswith(self.marker)

    def colored(self, line: str) -> Text:
        """One more line, in colours that take those before it into account."""
        return highlight(self.code + self._plain(line), self.language)[len(self.code) :]

    def add(self, line: str) -> None:
        """Go on to the next line; what came before this one is forgotten where it makes no difference to the next."""
        probe = self._plain(line) + "\nx"
        after = _colors(highlight(self.code + probe, self.language)[len(self.code) :])
        if after == _colors(highlight(probe, self.language)) and probe.strip() != "x":
            self.code = ""
        lines = [*self.code.splitlines(keepends=True), probe[:-1]]
        self.code = "".join(lines[-_WINDOW_LINES:])

    def _plain(self, line: str) -> str:
        return re.sub(f"^ {{0,{self.indent}}}", "", line)


class MarkdownStream:
    """Turns pieces of Markdown into lines with styles. `columns` tells how wide they may be now."""

    def __init__(self, console: Console, columns: Callable[[], int]) -> None:
        self._console = console
        self._columns = columns
        self._rest = ""
        self._fence: _Fence | None = None
        self._gap: list[str] = []
        self._rows = Rows(PROSE_COLUMNS_MAX)

    def feed(self, text: str) -> list[str]:
        """Lines that this piece finished."""
        self._rest += text
        lines: list[str] = []
        while (more := self._next_lines()) is not None:
            lines += more
        return lines

    def growing(self) -> tuple[list[str], list[str]]:
        """Lines of what is begun: those that stay, told once, and those that may still change."""
        if self._fence is not None:
            return [], self._printed(self._fence.colored(self._rest), soft=True) if self._rest else []
        return self._shown(self._rest) if self._rest.strip() else ([], [])

    def finish(self) -> list[str]:
        """The last lines; nothing comes any more."""
        lines = self.feed("\n") if self._rest else []
        if self._fence is None and self._rest.strip():
            lines += self._whole(self._rest)
        self._rest = ""
        return lines

    def _next_lines(self) -> list[str] | None:
        """Lines of the next piece that is whole; None when there is none."""
        if self._fence is not None:
            return self._code_line(self._fence)
        self._rest = self._rest[found.end() :] if (found := _BLANK.match(self._rest)) else self._rest
        if opening := _OPENING.match(self._rest):
            self._rest = self._rest[opening.end() :]
            self._fence = _Fence(len(opening[1]), opening[2], opening[3].strip())
            return [*self._gap, *self._dim(opening[2] + opening[3])]
        starts = _starts(self._rest)
        if len(starts) < 2:
            return None
        end, same_list = starts[1]
        lines = self._rest.splitlines(keepends=True)
        source, rest = "".join(lines[:end]), "".join(lines[end:])
        if len(rest) < _UNSURE_CHARACTERS and "\n" not in rest:
            return None
        shown = self._whole(source)
        self._gap = [] if same_list and not source.endswith("\n\n") else [""]
        self._rest = rest
        return shown

    def _code_line(self, fence: _Fence) -> list[str] | None:
        line, end, rest = self._rest.partition("\n")
        if not end:
            return None
        self._rest = rest
        if fence.is_closed_by(line):
            self._fence, self._gap = None, [""]
            return self._dim(fence.marker)
        shown = self._printed(fence.colored(line), soft=True)
        fence.add(line)
        return shown

    def _whole(self, source: str) -> list[str]:
        """The lines of a piece to which nothing is added any more."""
        stay, change = self._shown(source, whole=True)
        self._rows = self._rows.anew()
        return [*stay, *change]

    def _shown(self, source: str, *, whole: bool = False) -> tuple[list[str], list[str]]:
        """Lines that stay, and those that may still change; of a paragraph all rows stay but the last."""
        looks = source if whole else _completed(source)
        length = _paragraph_lines(source, also_heading=self._rows.has_ended_one)
        if not length:
            return [], [*self._gap, *self._block(looks)]
        lines = looks.splitlines(keepends=True)
        paragraph, others = "".join(lines[:length]), "".join(lines[length:])
        first, *more = self._printed(markdown_type()(paragraph), soft=True)
        is_whole = whole or bool(more) or bool(others.strip())
        as_it_came = "".join(source.splitlines(keepends=True)[:length])
        marks = [at for at in map(_first_mark, (as_it_came, paragraph)) if at is not None]
        sure = min(marks, default=None)
        columns = self._columns()
        stay, change = self._rows.grow(first, columns, sure=sure, whole=is_whole)
        for line in more:
            change += chain.from_iterable(self._rows.anew().grow(line, columns, whole=whole))
        change += ["", *self._block(others)] if others.strip() else []
        if not stay:
            return [], [*self._gap, *change]
        gap, self._gap = self._gap, []
        return [*gap, *stay], change

    def _block(self, source: str) -> list[str]:
        return self._printed(markdown_type()(source))

    def _dim(self, text: str) -> list[str]:
        from rich.text import Text

        return self._printed(Text(text, style="dim"), soft=True)

    def _printed(self, what: Any, *, soft: bool = False) -> list[str]:
        columns = self._columns()
        prose = not any(token.type == "table_open" for token in getattr(what, "parsed", ()))
        self._console.width = columns if soft or not prose else min(columns, PROSE_COLUMNS_MAX)
        with self._console.capture() as captured:
            self._console.print(what, soft_wrap=soft)
        lines = [_PADDING.sub(r"\1", line) for line in captured.get().rstrip("\n").split("\n")]
        return lines if soft else _without_blank_ends(lines)


def _without_blank_ends(lines: list[str]) -> list[str]:
    """Rich puts blank lines around some blocks and not around others."""
    written = [i for i, line in enumerate(lines) if STYLE.sub("", line).strip()]
    return lines[written[0] : written[-1] + 1] if written else [""]


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


def _starts(source: str) -> list[tuple[int, bool]]:
    """The line where each block, item of a list or line of a paragraph begins, and whether it goes on with one."""
    found: list[tuple[int, bool]] = []
    first = False
    lines = source.splitlines(keepends=True)
    for token in _parser().parse(source):
        if token.map is None or token.nesting < 0:
            continue
        if token.level == 0 and token.type in _LISTS:
            first = True
        elif token.level == 0 or (token.level == 1 and token.type == "list_item_open"):
            found.append((token.map[0], token.level == 1 and not first))
            first = False
            if token.type == "paragraph_open":
                found += [(line, True) for line in _splits(lines, *token.map)]
    return found


def _splits(lines: list[str], start: int, end: int) -> Iterator[int]:
    """Lines of a paragraph that can begin a piece of their own; the last, while it is short, may be something else."""
    for line in range(start + 1, end):
        if (
            _first_mark("".join(lines[start:line])) is None
            and len(lines[line]) > _UNSURE_CHARACTERS
            and _TEXT.search(lines[line])
            and _parser().parse(lines[line])[0].type == "paragraph_open"
        ):
            yield line


def _paragraph_lines(source: str, *, also_heading: bool) -> int:
    """How many lines a paragraph has that the source begins with; 0 when it is something else."""
    kinds = ("paragraph_open", "heading_open") if also_heading else ("paragraph_open",)
    tokens = _parser().parse(source)
    found = tokens[0] if tokens else None
    return found.map[1] if found is not None and found.map is not None and found.type in kinds else 0


def _first_mark(source: str) -> int | None:
    """Where a paragraph, as it is shown, has a mark that may still take effect."""
    shorter = source.rstrip("*_~`")  # marks at the end close something, until there are more of them
    before_them = _first_mark(shorter) if shorter != source else None
    tokens = _parser().parse(source)
    if len(tokens) < 2 or tokens[0].type not in ("paragraph_open", "heading_open"):
        return 0  # it may be a table or a list yet
    text, address = "", ""
    for child in tokens[1].children or ():
        if child.type in ("softbreak", "hardbreak"):
            text += "\n"
        if child.type == "link_open":
            address = f" ({child.attrGet('href')})"
        text += address if child.type == "link_close" else _IMAGE * (child.type == "image") + child.content
        if child.type == "code_inline":
            text = text.removesuffix(child.content) + "x" * len(child.content)
    for found in _MARKS.finditer(text):
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        within = found[0][0] == "_" and before.isalnum() and after.isalnum()
        if found[0][0] not in "*_~" or not (after.isspace() or within):
            return found.start() if before_them is None else min(before_them, found.start())
    return before_them


def _completed(source: str) -> str:
    """The source with what is begun in its last paragraph closed, so that it does not jump when the rest comes."""
    last = source.rpartition("\n\n")[2]
    if last.count("`") % 2:
        return source + "`"
    if last.count("**") % 2:
        return source.removesuffix("**") if source.endswith("**") else source.rstrip("* \n") + "**"
    return source


def highlight(code: str, language: str) -> Text:
    """Code in the terminal's own colours; plain where the language is unknown."""
    from rich.syntax import Syntax

    name = (language.split() or ["text"])[0].lower()
    found = Syntax(code, name, theme="ansi_dark", background_color="default").highlight(code)
    found.spans = [span for span in found.spans if str(span.style) != _ERROR]  # what is not finished is no error
    return found


def _colors(text: Text) -> list[Any]:
    return [span for span in text.spans if text.plain[span.start : span.end].strip()]


@cache
def markdown_type() -> Any:
    """Rich's Markdown with headings at the left, code without a background, and the writer's line breaks."""
    from rich import markdown
    from rich.console import ConsoleOptions, RenderResult

    class Heading(markdown.Heading):
        """A line in bold."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            self.text.justify = "left"
            yield self.text

    class Code(markdown.CodeBlock):
        """Code inside a list or a quotation."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            yield highlight(str(self.text).rstrip(), self.lexer_name)

    class Item(markdown.ListItem):
        """An item; a number has its full stop."""

        def render_number(
            self, console: Console, options: ConsoleOptions, number: Any, last_number: Any
        ) -> RenderResult:
            yield from super().render_number(console, options, f"{number}.", f"{last_number}.")  # type: ignore[arg-type]

    class Written(markdown.Markdown):
        """A block of an answer."""

        elements: ClassVar = {
            **markdown.Markdown.elements,
            **{"heading_open": Heading, "fence": Code, "code_block": Code, "list_item_open": Item},
        }

        def __init__(self, source: str) -> None:
            super().__init__(source, hyperlinks=False)
            self.parsed = _parser().parse(source)
            for child in (child for token in self.parsed for child in token.children or ()):
                if child.type == "softbreak":
                    child.type = "hardbreak"
                if child.type == "image":  # Rich would put it before its paragraph
                    child.type, child.tag, child.children = "text", "", None
                    child.content = _IMAGE + child.content

    return Written
