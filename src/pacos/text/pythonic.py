"""Tool calls written as a list of Python calls: [look(where="Paris", days=2), stop()].

Nothing is evaluated: names, and values of Python's or JSON's spelling, are read as data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.call_syntax import NamedCall
from pacos.text.incoming import Incoming, Malformed, Waiting
from pacos.text.tools import Tool, ToolFormat

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark

_DEEPEST = 100
_MOST_NAME = 256
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_SPELLED = {"boolean": '"True" | "False"', "null": '"None"'}  # where Python and JSON differ


@dataclass(frozen=True, kw_only=True)
class PythonicCalls(ToolFormat):
    """A list of calls, after an opener or at the start of an answer."""

    closer: str = ""

    def read(self, incoming: Incoming, answer: Answer, opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read the list; without an opener only one of calls that there are."""
        yield from incoming.spaces()
        yield from incoming.expect("[")
        while True:
            yield from incoming.spaces()
            name = yield from _name(incoming)
            yield from incoming.expect("(")
            call = NamedCall(incoming, answer, {} if opener else schemas)
            call.name(name)
            yield from _read_arguments(incoming, call)
            incoming.marked = incoming.at
            yield from incoming.spaces()
            if (yield from incoming.expect(",", "]")) == "]":
                break
        incoming.marked = incoming.at
        yield from incoming.spaces()
        if not self.closer or (yield from incoming.close(self.closer)):
            incoming.marked = None

    def grammar(self, lark: Lark, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Calls, each argument as its schema has it, in the schema's order, those that must be there first."""
        call = lark.rule(
            "call", " | ".join(f"{lark.text(f'{one.name}(')} {_written(lark, one, tools)}" for one in tools)
        )
        more = f'("," " "? {call})*' if parallel else ""
        return " ".join(filter(None, ('"["', call, more, '"]"', lark.marker(self.closer))))

    def optional(self, lark: Lark, calls: str, tools: Sequence[Tool]) -> str:
        """Calls, or text that does not begin as one."""
        names = "|".join(re.escape(tool.name) for tool in tools)
        lark.define("OTHER", f"/(?s:.*)/ & ~/(?s:\\s*\\[\\s*({names})\\(.*)/")
        heads = [lark.rule("head", f"/\\s*\\[\\s*{re.escape(tool.name)}\\(/", "[lazy]") for tool in tools]
        first = [f"{head} {_written(lark, tool, tools)}" for head, tool in zip(heads, tools, strict=True)]
        call = lark.rule(
            "more", " | ".join(f"{lark.text(f'{one.name}(')} {_written(lark, one, tools)}" for one in tools)
        )
        return f'({" | ".join(first)}) ("," " "? {call})* "]" | OTHER'


def _written(lark: Lark, tool: Tool, tools: Sequence[Tool]) -> str:
    """A rule for what follows a name and its parenthesis."""
    required: list[str] = []
    optional: list[str] = []
    for key, schema in tool.schema.get("properties", {}).items():
        path = f"/properties/{key.replace('~', '~0').replace('/', '~1')}"
        kind = schema.get("type") if isinstance(schema, Mapping) and not {"enum", "const"} & schema.keys() else None
        spelled = _SPELLED.get(kind) if isinstance(kind, str) else None
        value = f"({spelled})" if spelled else lark.json(lark.schema_of(tool, tools, path), tools)
        part = lark.rule("argument", f"{lark.text(f'{key}=')} {value}")
        (required if key in tool.schema.get("required", ()) else optional).append(part)
    if required:
        rest = [f'("," " "? {part})?' for part in optional]
        return lark.rule("arguments", " ".join(['"," " "? '.join(f"{part} " for part in required), *rest, '")"']))
    ways = [
        " ".join([part, *(f'("," " "? {later})?' for later in optional[place + 1 :])])
        for place, part in enumerate(optional)
    ]
    return lark.rule("arguments", f'({" | ".join(ways)})? ")"' if ways else '")"')


def _name(incoming: Incoming) -> Waiting[str]:
    found = ""
    while (char := (yield from incoming.peek())) and (char.isalnum() or char in "_.-+"):
        incoming.at += 1
        found += char
        if len(found) > _MOST_NAME:
            raise Malformed
    return found


def _read_arguments(incoming: Incoming, call: NamedCall) -> Waiting[None]:
    yield from incoming.spaces()
    first = True
    while first or not (yield from incoming.begins(")")):
        if first and (yield from incoming.begins(")")):
            call.argue("{")
            break
        key = yield from _name(incoming)
        yield from incoming.spaces()
        yield from incoming.expect("=")
        if not key:
            raise Malformed
        call.argue(("{" if first else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
        first = False
        call.argue((yield from _value(incoming, 0)))
        yield from incoming.spaces()
        if not (yield from incoming.take(",")) and not (yield from incoming.begins(")")):
            raise Malformed
        yield from incoming.spaces()
    yield from incoming.expect(")")
    call.argue("}")


def _value(incoming: Incoming, depth: int) -> Waiting[str]:
    """JSON of a value."""
    yield from incoming.spaces()
    char = yield from incoming.peek()
    if depth > _DEEPEST or not char:
        raise Malformed
    if char in "'\"":
        return (yield from _text(incoming))
    if char in "[(":
        parts = yield from _items(incoming, depth, "]" if char == "[" else ")")
        return f"[{', '.join(parts)}]"
    if char == "{":
        parts = yield from _items(incoming, depth, "}")
        return f"{{{', '.join(parts)}}}"
    word = yield from _name(incoming)
    if word in _WORDS:
        return _WORDS[word]
    if not _NUMBER.fullmatch(word):
        raise Malformed
    return json.dumps(float(word) if set(word) & set(".eE") else int(word)) if len(word) < 300 else "null"


def _items(incoming: Incoming, depth: int, end: str) -> Waiting[list[str]]:
    incoming.at += 1
    parts: list[str] = []
    yield from incoming.spaces()
    while not (yield from incoming.take(end)):
        key = ""
        if end == "}":
            yield from incoming.spaces()
            if (yield from incoming.peek()) not in {"'", '"'}:
                raise Malformed
            key = yield from _text(incoming)
            yield from incoming.spaces()
            yield from incoming.expect(":")
            key += ": "
        parts.append(key + (yield from _value(incoming, depth + 1)))
        yield from incoming.spaces()
        if not (yield from incoming.take(",")) and not (yield from incoming.begins(end)):
            raise Malformed
        yield from incoming.spaces()
    return parts


def _text(incoming: Incoming) -> Waiting[str]:
    quote = incoming.text[incoming.at]
    incoming.at += 1
    raw: list[str] = []
    while (char := (yield from incoming.peek())) != quote:
        incoming.at += 1
        if char == "\\":
            char += yield from incoming.peek()
            incoming.at += 1
        if char in {"", "\\"}:
            raise Malformed
        raw.append(char)
    incoming.at += 1
    text = _ESCAPE.sub(lambda found: _meant(found[1]), "".join(raw))
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.dumps(paired, ensure_ascii=False)


def _meant(escape: str) -> str:
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape)
