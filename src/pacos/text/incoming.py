"""Text that arrives in pieces, read by a parser as if all of it were there.

A parser is a generator: `yield from` a method here waits for as much text as the method needs. However the text is
cut into pieces, the parser sees the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Value = TypeVar("Value")
Waiting = Generator[None, None, Value]
Emit = Callable[[str], None]

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_WORDS = frozenset(("true", "false", "null"))
_SCALAR = re.compile(r"[-+.\w]+")
_DEEPEST = 200


class Malformed(Exception):
    """The text is not what the parser expected."""


class Incoming:
    """The text so far, and how far it was read; `marked` keeps a place to go back to."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.marked: int | None = None

    def push(self, text: str) -> None:
        """Take more text, and forget what is read."""
        keep = self.at if self.marked is None else self.marked
        self.text = self.text[keep:] + text
        self.at -= keep
        self.marked = None if self.marked is None else 0

    def go_back(self) -> bool:
        """Go back to the marked place; whether there is one."""
        place, self.marked = self.marked, None
        self.at = self.at if place is None else place
        return place is not None

    def more(self) -> Waiting[bool]:
        """Wait for more text; False at the end."""
        if self.ended:
            return False
        yield
        return True

    def peek(self) -> Waiting[str]:
        """The next character, not taken; empty at the end."""
        while self.at >= len(self.text):
            if not (yield from self.more()):
                return ""
        return self.text[self.at]

    def spaces(self) -> Waiting[None]:
        """Pass over white space."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or not (yield from self.more()):
                return

    def begins(self, *texts: str) -> Waiting[str]:
        """Which of these comes next, not taken; empty for none. Of two that fit, the longer."""
        wanted = sorted(texts, key=len, reverse=True)
        while True:
            rest = self.text[self.at :]
            pending = any(len(text) > len(rest) and text.startswith(rest) for text in wanted)
            if not pending or not (yield from self.more()):
                return next((text for text in wanted if rest.startswith(text)), "")

    def take(self, *texts: str) -> Waiting[str]:
        """Take the one of these that comes next; empty for none."""
        found = yield from self.begins(*texts)
        self.at += len(found)
        return found

    def expect(self, *texts: str) -> Waiting[str]:
        """Take the one of these that must come next. Errors: Malformed."""
        found = yield from self.take(*texts)
        if not found:
            raise Malformed
        return found

    def close(self, *texts: str) -> Waiting[str]:
        """As `take`, for what ends a call: at the text's end a part of it is taken too, for it was cut there."""
        found = yield from self.take(*texts)
        rest = self.text[self.at :]
        if not found and self.ended and rest and any(text.startswith(rest) for text in texts):
            self.at = len(self.text)
            return rest
        return found

    def until(self, ends: tuple[str, ...], emit: Emit) -> Waiting[str]:
        """Emit text up to the first of these and take it; empty when the text ends before."""
        pattern = re.compile("|".join(re.escape(end) for end in sorted(ends, key=len, reverse=True)))
        longest = max(map(len, ends), default=0)
        while True:
            found = pattern.search(self.text, self.at) if ends else None
            if found is not None:
                emit(self.text[self.at : found.start()])
                self.at = found.end()
                return found[0]
            safe = len(self.text) if self.ended else self._undecided(ends, longest)
            emit(self.text[self.at : safe])
            self.at = safe
            if not (yield from self.more()):
                return ""

    def _undecided(self, ends: tuple[str, ...], longest: int) -> int:
        """Where the tail starts that may yet become one of the ends."""
        for start in range(max(self.at, len(self.text) - longest + 1), len(self.text)):
            tail = self.text[start:]
            if any(end.startswith(tail) for end in ends):
                return start
        return len(self.text)

    def text_until(self, *ends: str, most: int = 4096) -> Waiting[tuple[str, str]]:
        """The text up to the first of these, and which it was. Errors: Malformed when it does not come."""
        parts: list[str] = []

        def keep(text: str) -> None:
            parts.append(text)
            if sum(map(len, parts)) > most:
                raise Malformed

        found = yield from self.until(ends, keep)
        if not found:
            raise Malformed
        return "".join(parts), found

    def json_value(self, emit: Emit) -> Waiting[None]:
        """Emit the text of one JSON value as it comes. Errors: Malformed from the character on that is wrong."""
        yield from self._value(emit, 0)

    def json_text(self) -> Waiting[str]:
        """The text that a JSON string means. Errors: Malformed."""
        parts: list[str] = []
        yield from self._string(parts.append)
        try:
            value: str = json.loads("".join(parts))
        except ValueError as error:
            raise Malformed from error
        return value

    def _value(self, emit: Emit, depth: int) -> Waiting[None]:
        yield from self._space(emit)
        char = yield from self.peek()
        if depth > _DEEPEST or not char:
            raise Malformed
        if char == '"':
            yield from self._string(emit)
        elif char in "{[":
            yield from self._container(emit, depth, "}" if char == "{" else "]")
        else:
            yield from self._scalar(emit)

    def _container(self, emit: Emit, depth: int, closing: str) -> Waiting[None]:
        self._one(emit)
        yield from self._space(emit)
        if (yield from self.peek()) == closing:
            self._one(emit)
            return
        while True:
            if closing == "}":
                yield from self._space(emit)
                yield from self._string(emit)
                yield from self._space(emit)
                if (yield from self.peek()) != ":":
                    raise Malformed
                self._one(emit)
            yield from self._value(emit, depth + 1)
            yield from self._space(emit)
            char = yield from self.peek()
            if char not in {",", closing}:
                raise Malformed
            self._one(emit)
            if char == closing:
                return

    def _one(self, emit: Emit) -> None:
        emit(self.text[self.at])
        self.at += 1

    def _space(self, emit: Emit) -> Waiting[None]:
        while True:
            found = _SPACE.match(self.text, self.at)
            end = found.end() if found else self.at
            emit(self.text[self.at : end])
            self.at = end
            if self.at < len(self.text) or not (yield from self.more()):
                return

    def _string(self, emit: Emit) -> Waiting[None]:
        if (yield from self.peek()) != '"':
            raise Malformed
        self._one(emit)
        while True:
            char = yield from self.peek()
            if char == '"':
                self._one(emit)
                return
            if char == "\\":
                while len(self.text) < self.at + 2:
                    if not (yield from self.more()):
                        raise Malformed
                if self.text[self.at + 1] not in '"\\/bfnrtu':
                    raise Malformed
                emit(self.text[self.at : self.at + 2])
                self.at += 2
                continue
            found = _PLAIN.match(self.text, self.at)
            if found is not None:
                emit(found[0])
                self.at = found.end()
                continue
            if not char:
                raise Malformed
            emit(json.dumps(char)[1:-1])  # models write line ends as they are
            self.at += 1

    def _scalar(self, emit: Emit) -> Waiting[None]:
        while True:
            found = _SCALAR.match(self.text, self.at)
            if found is None:
                raise Malformed
            if found.end() < len(self.text) or not (yield from self.more()):
                break
        if found[0] not in _WORDS and not _NUMBER.fullmatch(found[0]):
            raise Malformed
        emit(found[0])
        self.at = found.end()


def as_json(text: str) -> Any:
    """What JSON text means. Errors: ValueError."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(name)
