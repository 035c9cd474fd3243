"""Llama 3.1 to 3.3: a bare JSON object with "parameters", or <|python_tag|> and code or a built-in tool's call."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.call_syntax import JsonCalls, read_object
from pacos.text.incoming import Incoming, Malformed, Waiting
from pacos.text.tools import Tool

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark

_BUILT_IN = re.compile(r"\s*([\w.-]+?)\.call\((.*)\)\s*", re.DOTALL)
_ARGUMENT = re.compile(r'\s*(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^,]+?)\s*(?:,|$)', re.DOTALL)
_PYTHON = ("python", "ipython", "code_interpreter")
_MOST_CHARS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Llama3Calls(JsonCalls):
    """Calls without an opener, or code after one."""

    def read(self, incoming: Incoming, answer: "Answer", opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read objects that stand one after the other, or what follows the tag."""
        yield from incoming.spaces()
        if opener and not (yield from incoming.begins("{")):
            yield from self._tagged(incoming, answer, schemas)
            return
        while True:
            yield from read_object(incoming, answer, schemas)
            incoming.marked = incoming.at
            yield from incoming.spaces()
            yield from incoming.take(";")
            yield from incoming.spaces()
            yield from incoming.take("<|python_tag|>")
            if not (yield from incoming.begins("{")):
                incoming.marked = None
                return

    def optional(self, lark: "Lark", calls: str, tools: Sequence[Tool]) -> str:
        """A call, or text that does not begin as one."""
        lark.define("OTHER", '/(?s:.*)/ & ~/(?s:\\s*\\{\\s*"name".*)/')
        head = lark.rule("head", '/\\s*\\{\\s*"name"\\s*:/', "[lazy]")  # a lexeme, for OTHER is one too
        key = lark.text(json.dumps(self.arguments_key))
        found = []
        for tool in tools:
            arguments = lark.json(lark.schema_of(tool, tools), tools)
            found.append(f'" "? {lark.text(json.dumps(tool.name))} "," " "? {key} ":" " "? {arguments} "}}"')
        call = lark.rule("call", " | ".join(found))
        return f"{head} {call} | OTHER | {lark.marker(self.openers[0])} {lark.free()}"

    def _tagged(self, incoming: Incoming, answer: "Answer", schemas: Mapping[str, Any]) -> Waiting[None]:
        parts: list[str] = []
        yield from incoming.until(("<|eom_id|>", "<|eot_id|>"), parts.append)
        code = "".join(parts)
        found = _BUILT_IN.fullmatch(code)
        if found and (found[1] in schemas or not schemas):
            values = {key: _value(text) for key, text in _ARGUMENT.findall(found[2])}
            answer.begin_call(found[1])
            answer.argue(json.dumps(values, ensure_ascii=False))
        else:
            python = next((name for name in _PYTHON if name in schemas), None)
            if python is None or not code.strip():
                raise Malformed
            answer.begin_call(python)
            answer.argue(json.dumps({"code": code.strip()}, ensure_ascii=False))
        incoming.marked = None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


FORMAT = Llama3Calls(
    name="llama3",
    signs=(
        ("<|start_header_id|>ipython<|end_header_id|>",),
        ("<|header_start|>ipython<|header_end|>", "parameters"),
        ("<|start_header_id|>", "<|python_tag|>"),
    ),
    order=50,
    openers=("<|python_tag|>",),
    at_start=True,
    arguments_key="parameters",
)
