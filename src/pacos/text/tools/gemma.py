"""Gemma 4: call:name{key:value}, with text between quotes of their own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.incoming import Incoming, Malformed, Waiting, as_json
from pacos.text.tools import Tool, ToolFormat, check_free_text

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark

_QUOTES = ('<|"|>', "<escape>")
_CLOSERS = ("<tool_call|>", "<end_function_call>")
_DEEPEST = 100
_MOST_LEVELS = 8
_SCALARS = {
    "integer": "/-?(0|[1-9][0-9]{0,15})/",
    "number": "/-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,15})?/",
    "boolean": '"true" | "false"',
    "null": '"null"',
}


@dataclass(frozen=True, kw_only=True)
class GemmaCalls(ToolFormat):
    """Calls whose values are JSON but for their keys and texts."""

    quote: str
    closer: str

    def read(self, incoming: Incoming, answer: "Answer", opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read one call."""
        yield from incoming.spaces()
        yield from incoming.expect("call:")
        name, _ = yield from incoming.text_until("{", most=256)
        if not name.strip():
            raise Malformed
        incoming.marked = None
        answer.begin_call(name.strip())
        yield from self._object(incoming, answer, 0)
        incoming.marked = incoming.at
        yield from incoming.spaces()
        if (yield from incoming.close(*_CLOSERS)):
            incoming.marked = None

    def _object(self, incoming: Incoming, answer: "Answer", depth: int) -> Waiting[None]:
        answer.argue("{")
        yield from incoming.spaces()
        first = True
        while not (yield from incoming.take("}")):
            if not first:
                yield from incoming.expect(",")
                yield from incoming.spaces()
            quote = yield from incoming.take(*_QUOTES)
            key, _ = yield from incoming.text_until(*((quote,) if quote else (":",)), most=256)
            if quote:
                yield from incoming.expect(":")
            answer.argue(f"{'' if first else ', '}{json.dumps(key.strip(), ensure_ascii=False)}: ")
            first = False
            yield from self._value(incoming, answer, depth + 1)
            yield from incoming.spaces()
        answer.argue("}")

    def _array(self, incoming: Incoming, answer: "Answer", depth: int) -> Waiting[None]:
        answer.argue("[")
        yield from incoming.spaces()
        first = True
        while not (yield from incoming.take("]")):
            if not first:
                yield from incoming.expect(",")
                answer.argue(", ")
            first = False
            yield from self._value(incoming, answer, depth + 1)
            yield from incoming.spaces()
        answer.argue("]")

    def _value(self, incoming: Incoming, answer: "Answer", depth: int) -> Waiting[None]:
        yield from incoming.spaces()
        if depth > _DEEPEST:
            raise Malformed
        quote = yield from incoming.take(*_QUOTES)
        if quote:
            answer.argue('"')
            if not (yield from incoming.until((quote,), lambda text: answer.argue(_escaped(text)))):
                raise Malformed
            answer.argue('"')
        elif (yield from incoming.take("{")):
            yield from self._object(incoming, answer, depth)
        elif (yield from incoming.take("[")):
            yield from self._array(incoming, answer, depth)
        else:
            text, end = yield from incoming.text_until(",", "}", "]", most=1 << 16)
            incoming.at -= len(end)
            answer.argue(_json(text.strip()))

    def grammar(self, lark: "Lark", tools: Sequence[Tool], *, parallel: bool) -> str:
        """Values as each tool's schema has them, keys in its order, those that must be there first."""
        calls = [f"{lark.text(f'call:{tool.name}')} {self._written(lark, tool.schema, tool, 0)}" for tool in tools]
        return f"{lark.rule('call', ' | '.join(calls))} {lark.marker(self.closer)}"

    def _written(self, lark: "Lark", schema: Any, tool: Tool, depth: int) -> str:
        """A rule for a value."""
        schema = _resolved(schema, tool.schema)
        choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
        kind = schema.get("type")
        if choices is not None:
            return lark.rule("choice", " | ".join(self._constant(lark, choice) for choice in choices))
        if kind == "string":
            check_free_text(tool, schema)
            return lark.rule("text", f"{lark.marker(self.quote)} {lark.through(self.quote)}")
        if kind in _SCALARS:
            return lark.rule("scalar", _SCALARS[kind])
        if depth < _MOST_LEVELS and kind == "array":
            item = self._written(lark, schema.get("items", {}), tool, depth + 1)
            return lark.rule("array", f'"[" ({item} ("," {item})*)? "]"')
        if depth < _MOST_LEVELS and isinstance(schema.get("properties"), dict):
            return self._pairs(lark, schema, tool, depth)
        return self._any(lark)

    def _pairs(self, lark: "Lark", schema: Any, tool: Tool, depth: int) -> str:
        required = schema.get("required", ())
        written = ""
        optional = 0
        for index, (key, value) in enumerate(
            sorted(schema["properties"].items(), key=lambda one: one[0] not in required)
        ):
            pair = f"{'' if index == 0 else chr(34) + ',' + chr(34)} {lark.text(f'{key}:')}"
            optional += key not in required
            written += f" {'' if key in required else '('}{pair} {self._written(lark, value, tool, depth + 1)}"
        return lark.rule("object", f'"{{" {written}{")?" * optional} "}}"')

    def _constant(self, lark: "Lark", value: Any) -> str:
        quote = lark.marker(self.quote)
        return f"{quote} {lark.text(value)} {quote}" if isinstance(value, str) else lark.text(json.dumps(value))

    def _any(self, lark: "Lark") -> str:
        text = lark.rule("text", f"{lark.marker(self.quote)} {lark.through(self.quote)}")
        value = lark.name("value")
        pair = f'/[A-Za-z_][A-Za-z0-9_-]*/ ":" {value}'
        items, pairs = f'"[" ({value} ("," {value})*)? "]"', f'"{{" ({pair} ("," {pair})*)? "}}"'
        lark.define(
            value, f"{text} | {_SCALARS['number']} | {_SCALARS['boolean']} | {_SCALARS['null']} | {items} | {pairs}"
        )
        return value


def _resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """A schema, or the one in the root that it refers to."""
    for _ in range(_MOST_LEVELS):
        place = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(place, str):
            break
        schema = root
        for step in place.removeprefix("#").split("/")[1:]:
            schema = schema.get(step, {}) if isinstance(schema, Mapping) else {}
    return schema if isinstance(schema, dict) else {}


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json(text: str) -> str:
    try:
        as_json(text)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return text


FORMAT = GemmaCalls(
    name="gemma",
    signs=(("<|tool_call>call:",), ("<|tool_call>", "<tool_call|>")),
    order=10,
    openers=("<|tool_call>",),
    markers=("<tool_call|>", '<|"|>'),
    repeats=True,
    quote='<|"|>',
    closer="<tool_call|>",
)
