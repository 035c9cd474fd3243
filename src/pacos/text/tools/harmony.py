"""Harmony of gpt-oss: every part of an answer is a message in a channel, perhaps to a recipient."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.incoming import Incoming, Malformed, Waiting
from pacos.text.tools import Tool, ToolFormat, Wanted

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark

_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([\w.:-]+)")


@dataclass(frozen=True, kw_only=True)
class HarmonyCalls(ToolFormat):
    """Messages with headers; thoughts in the channel analysis, calls to recipients."""

    def read(self, incoming: Incoming, answer: "Answer", opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read the whole answer."""
        while True:
            yield from incoming.spaces()
            if not (yield from incoming.peek()):
                return
            incoming.marked = incoming.at
            try:
                yield from self._message(incoming, answer)
            except Malformed:
                incoming.go_back()
                incoming.marked = None
                yield from incoming.until(_ENDS, answer.say)
            incoming.marked = None

    def _message(self, incoming: Incoming, answer: "Answer") -> Waiting[None]:
        begin = yield from incoming.begins("<|start|>", "<|channel|>", "to=", "<|message|>")
        if not begin:
            raise Malformed
        header, _ = yield from incoming.text_until("<|message|>", most=512)
        channel, recipient = _CHANNEL.search(header), _RECIPIENT.search(header)
        if recipient is not None:
            incoming.marked = None
            answer.begin_call(recipient[1].removeprefix("functions."))
            yield from incoming.spaces()
            yield from incoming.json_value(answer.argue)
            yield from incoming.spaces()
            yield from incoming.take(*_ENDS)
        elif channel is not None and channel[1] == "analysis":
            incoming.marked = None
            answer.open_thought(header + "<|message|>")
            answer.close_thought((yield from incoming.until(_ENDS, answer.think)))
        else:
            incoming.marked = None
            yield from incoming.until(_ENDS, answer.say)

    def grammar(self, lark: "Lark", tools: Sequence[Tool], *, parallel: bool) -> str:
        """A message to each tool; the model's end of text is the end of a call, so that there is one."""
        message = lark.marker("<|message|>")
        channel, constrain = lark.marker("<|channel|>"), lark.marker("<|constrain|>")
        calls = []
        for tool in tools:
            to, json = f"to=functions.{tool.name}", lark.json(lark.schema_of(tool, tools), tools)
            before = f"{lark.text(f' {to}')} {channel} {lark.text('commentary')}"
            after = f"{channel} {lark.text(f'commentary {to}')}"
            kind = f'({constrain} | " " {constrain}?) "json"'  # a name and "json" are never one word
            calls.append(f"({before} | {after}) {kind} {message} {json}")
        return lark.rule("call", " | ".join(calls))

    def whole(self, lark: "Lark", wanted: Wanted) -> str:
        """Thoughts and remarks, then a call or the answer, each in its channel."""
        channel, message = lark.marker("<|channel|>"), lark.marker("<|message|>")
        again = f'{lark.marker("<|start|>")} "assistant"'
        until_end = lark.through("<|end|>")
        thought = lark.rule("thought", f'{channel} "analysis" {message} {until_end} {again}')
        call = self.grammar(lark, wanted.tools, parallel=wanted.parallel) if wanted.tools else ""
        if wanted.required:
            return f"{thought}* {call}"
        answer = "@answer" if wanted.answer is not None else lark.free()
        last = f'{channel} "final" {message} {answer}'
        if not call:
            return f"{thought}* {last}"
        said = lark.rule("said", f'{channel} "commentary" {message} {until_end} {again}')
        return f"({thought} | {said})* ({last} | {call})"


FORMAT = HarmonyCalls(
    name="harmony",
    signs=(("<|channel|>", "<|message|>"),),
    order=10,
    markers=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", *_ENDS),
    reads_all=True,
)
