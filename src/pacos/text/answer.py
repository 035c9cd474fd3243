"""An answer in its parts: what the model says, what it thinks, and the tools that it calls."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pacos.text.incoming import Incoming, Malformed, Waiting
from pacos.text.reasoning import Thinking
from pacos.text.tools import ToolFormat
from pacos.types import ToolCallDelta


@dataclass(frozen=True, slots=True)
class Piece:
    """What became known of an answer."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()


class Answer:
    """Takes what a parser finds. White space around thoughts and calls belongs to neither side and is dropped.

    `mirror` says thoughts in the text too. `new_id` makes the ids of calls whose format has none.
    """

    def __init__(self, *, mirror: bool = False, new_id: Callable[[], str] | None = None) -> None:
        self.calls = 0
        self._mirror = mirror
        self._new_id = new_id or (lambda: f"call_{secrets.token_hex(12)}")
        self._said: list[str] = []
        self._thought: list[str] = []
        self._deltas: list[ToolCallDelta] = []
        self._space = ""  # white space that was said last, until more is
        self._thought_space = ""
        self._thinking = False
        self._fresh = False  # right after a thought or call

    def say(self, text: str) -> None:
        """Take what the model says."""
        text = text.lstrip() if self._fresh else text
        if not text:
            return
        self._fresh = False
        kept = text.rstrip()
        if kept:
            self._said.append(self._space + kept)
            self._space = text[len(kept) :]
        else:
            self._space += text

    def think(self, text: str) -> None:
        """Take what the model thinks."""
        if self._mirror:
            self._said.append(text)
        text = text if self._thinking else text.lstrip()
        if not text:
            return
        self._thinking = True
        kept = text.rstrip()
        if kept:
            self._thought.append(self._thought_space + kept)
            self._thought_space = text[len(kept) :]
        else:
            self._thought_space += text

    def open_thought(self, marker: str) -> None:
        """A thought begins."""
        if self._thought or self._thinking:
            self._thought_space = "\n\n"  # between thoughts
        self._space = ""
        if self._mirror:
            self._said.append(marker)

    def close_thought(self, marker: str) -> None:
        """The thought is over; what is said begins without white space."""
        self._thought_space = ""
        if self._mirror:
            self._said.append(marker)
        else:
            self._fresh = True

    def begin_call(self, name: str, call_id: str = "") -> None:
        """A call begins; its arguments follow."""
        self._space = ""
        self._fresh = True
        self._deltas.append(ToolCallDelta(self.calls, call_id or self._new_id(), name))
        self.calls += 1

    def argue(self, text: str) -> None:
        """Take JSON text of the arguments of the call that has begun."""
        if text:
            self._deltas.append(ToolCallDelta(self.calls - 1, arguments=text))

    def end(self) -> None:
        """Nothing more comes: white space at the very end is said, unless it follows a call."""
        if not self.calls:
            self._said.append(self._space)
        self._space = ""

    def take(self) -> Piece:
        """What was found since the last time."""
        piece = Piece("".join(self._said), "".join(self._thought), _joined(self._deltas))
        self._said.clear()
        self._thought.clear()
        self._deltas.clear()
        return piece


def _joined(deltas: list[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    """One piece for each call, where there were several."""
    found: dict[int, ToolCallDelta] = {}
    for delta in deltas:
        first = found.get(delta.index, delta)
        arguments = delta.arguments if first is delta else first.arguments + delta.arguments
        found[delta.index] = ToolCallDelta(delta.index, first.id, first.name, arguments)
    return tuple(found.values())


class AnswerParser:
    """Splits the text of an answer into its parts, as it comes.

    Text must show control tokens that are `markers` by their names. `opened` is the marker of a thought that the
    prompt already began.
    """

    def __init__(
        self,
        thinking: Thinking | None,
        tools: ToolFormat | None,
        *,
        schemas: Mapping[str, Any] | None = None,
        opened: bool = False,
        mirror: bool = False,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._thinking = thinking
        self._tools = tools
        self._schemas = schemas or {}
        self._opened = opened
        self._incoming = Incoming()
        self._answer = Answer(mirror=mirror, new_id=new_id or (tools.new_id if tools else None))
        self._run = self._read()
        next(self._run, None)

    @property
    def calls(self) -> int:
        """How many calls began."""
        return self._answer.calls

    def feed(self, text: str) -> Piece:
        """Take more text; give what it makes known."""
        self._incoming.push(text)
        next(self._run, None)
        return self._answer.take()

    def finish(self) -> Piece:
        """The text is over; give what was held back."""
        self._incoming.ended = True
        for _ in self._run:
            pass
        self._answer.end()
        return self._answer.take()

    def _read(self) -> Waiting[None]:
        incoming, answer, tools = self._incoming, self._answer, self._tools
        whole = tools.reads_all if tools else False
        if tools is not None and whole:
            yield from tools.read(incoming, answer, "", self._schemas)
            return
        if self._thinking is not None:
            yield from self._thought(self._thinking)
        if tools is not None and tools.at_start:
            yield from self._calls(tools, "")
        dropped = self._thinking.wrappers if self._thinking else ()
        openers = tools.openers if tools else ()
        while True:
            found = yield from incoming.until((*openers, *dropped), answer.say)
            if not found:
                return
            if tools is not None and found in openers:
                yield from self._calls(tools, found)

    def _thought(self, thinking: Thinking) -> Waiting[None]:
        """The thought that an answer begins with, if it does."""
        incoming, answer = self._incoming, self._answer
        if not self._opened:
            incoming.marked = incoming.at
            yield from incoming.spaces()
            found = yield from incoming.take(*thinking.opens)
            if not found:
                incoming.go_back()
                return
            incoming.marked = None
            answer.open_thought(found)
        end = yield from incoming.until(thinking.closes, answer.think)
        answer.close_thought(end)

    def _calls(self, tools: ToolFormat, opener: str) -> Waiting[None]:
        """Calls after an opener; where they are none, the text stays text."""
        incoming, answer = self._incoming, self._answer
        before = answer.calls
        incoming.marked = incoming.at
        try:
            yield from tools.read(incoming, answer, opener, self._schemas)
        except Malformed:
            if incoming.go_back() and answer.calls == before:
                answer.say(opener)
        incoming.marked = None
