"""Tool calls whose arguments stand between tags, one by one, as plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.incoming import Incoming, Malformed, Waiting, as_json
from pacos.text.tools import Tool, ToolFormat, check_free_text

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark


_ANY_TEXT = {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class XmlCalls(ToolFormat):
    """An opener, calls with a name and arguments between tags, and a closer.

    Each tag is a pair of what stands before and after its name; white space between tags is free.
    """

    call: tuple[str, str]  # around the tool's name; ("", "\n") has it right after the opener
    key: tuple[str, str]  # around an argument's name
    value: tuple[str, str]  # around its value; nothing before it when the key's tag opens it
    ends: tuple[str, ...] = ()  # what closes a call
    closer: str = ""  # what closes the section
    line: str = "\n"  # what models write between tags
    inner: str = "\n"  # what models write around values

    def read(self, incoming: Incoming, answer: Answer, opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read calls until something else comes."""
        begun = bool(self.call[0]) and opener == self.call[0]
        while True:
            yield from incoming.spaces()
            if self.call[0] and not begun:
                yield from incoming.expect(self.call[0])
            begun = False
            yield from self._call(incoming, answer, schemas)
            incoming.marked = incoming.at
            yield from incoming.spaces()
            if self.closer and (yield from incoming.close(self.closer)):
                break
            if not self.call[0] or not (yield from incoming.begins(self.call[0])):
                break
        incoming.marked = None

    def _call(self, incoming: Incoming, answer: Answer, schemas: Mapping[str, Any]) -> Waiting[None]:
        name = yield from self._name(incoming)
        if not name:
            raise Malformed
        incoming.marked = None
        answer.begin_call(name)
        properties = schemas.get(name, {}).get("properties", {})
        first = True
        while True:
            yield from incoming.spaces()
            if not (yield from incoming.begins(self.key[0])):
                break
            incoming.at += len(self.key[0])
            key, schema = yield from self.read_key(incoming, properties)
            answer.argue(("{" if first else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
            first = False
            if self.value[0]:
                yield from incoming.spaces()
                yield from incoming.expect(self.value[0])
            yield from self._value(incoming, answer, schema)
        if first:
            answer.argue("{")
        if not (yield from incoming.peek()):
            raise Malformed
        for end in self.ends:
            yield from incoming.close(end)
        answer.argue("}")

    def read_key(self, incoming: Incoming, properties: Mapping[str, Any]) -> Waiting[tuple[str, Any]]:
        """The name of an argument, whose tag has begun, and its schema."""
        written, _ = yield from incoming.text_until(self.key[1])
        key = written.strip()
        return key, properties.get(key)

    def key_end(self, schema: Any) -> str:
        """What is written after the name of an argument of this schema."""
        return self.key[1]

    def _name(self, incoming: Incoming) -> Waiting[str]:
        if self.call[0]:
            name, _ = yield from incoming.text_until(self.call[1], most=256)
            return name.strip().strip('"')
        parts: list[str] = []
        stops = (self.call[1], self.key[0], self.closer)
        found = yield from incoming.until(stops, parts.append)
        if found and found != self.call[1]:
            incoming.at -= len(found)
        name = "".join(parts).strip()
        if not found or len(name) > 256 or any(char in name for char in "<>{}\"'"):
            raise Malformed
        return name

    def _value(self, incoming: Incoming, answer: Answer, schema: Any) -> Waiting[None]:
        """One value: text is given out as it comes, anything else when it is whole."""
        yield from self._line_end(incoming)
        closer = self.value[1]
        if is_text(schema):
            answer.argue('"')
            found = yield from incoming.until(
                (f"\n{closer}", closer), lambda text: answer.argue(json.dumps(text, ensure_ascii=False)[1:-1])
            )
            if not found:
                raise Malformed
            answer.argue('"')
            return
        parts: list[str] = []
        if not (yield from incoming.until((f"\n{closer}", closer), parts.append)):
            raise Malformed
        answer.argue(json_of("".join(parts), schema))

    def _line_end(self, incoming: Incoming) -> Waiting[None]:
        if (yield from incoming.peek()) == "\n":
            incoming.at += 1

    def grammar(self, lark: Lark, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Tags, and between them JSON of each argument's schema, or text."""
        calls = [self._call_grammar(lark, tool, tools) for tool in tools]
        call = lark.rule("call", " | ".join(calls))
        more = f"({lark.text(self.line)} {call})*" if parallel and self.call[0] and not self.repeats else ""
        begin = lark.text(self.line) if self.call[0] else ""
        return " ".join(filter(None, (begin, call, more, lark.text(self.line), lark.marker(self.closer))))

    def _call_grammar(self, lark: Lark, tool: Tool, tools: Sequence[Tool]) -> str:
        parts = [lark.text(self.call[0] + tool.name + self.call[1])]
        if self.call[0] and self.line:
            parts.append(lark.text(self.line))
        properties = tool.schema.get("properties", {})
        required = tool.schema.get("required", ())
        for key, schema in properties.items():
            path = f"/properties/{key.replace('~', '~0').replace('/', '~1')}"
            if is_text(schema):
                check_free_text(tool, schema)
            inner = lark.json(lark.schema_of(tool, tools, path), tools) if not is_text(schema) else ""
            rule = self._argument(lark, lark.text(self.key[0] + key + self.key_end(schema)), inner, schema)
            parts.append(rule if key in required else f"{rule}?")
        if not properties:
            name = f'{lark.text(self.key[0])} /[^<>"\\n]{{1,64}}/ {lark.text(self.key_end(_ANY_TEXT))}'
            parts.append(f"{self._argument(lark, name, '', {})}*")
        parts += [lark.text(end) for end in self.ends]
        return lark.rule("tool", " ".join(filter(None, parts)))

    def _argument(self, lark: Lark, key: str, inner: str, schema: Any) -> str:
        begin = (self.line + self.value[0] if self.value[0] else "") + self.inner
        ending = f"{self.inner}{self.value[1]}{self.line}"
        choices = schema.get("enum") if isinstance(schema, dict) else None
        if not inner and isinstance(choices, list) and all(isinstance(choice, str) for choice in choices):
            inner = lark.rule("choice", " | ".join(lark.text(choice) or '""' for choice in choices))
        value = f"{inner} {lark.text(ending)}" if inner else f"{lark.through(self.value[1])} {lark.text(self.line)}"
        return lark.rule("argument", " ".join(filter(None, (key, lark.text(begin), value))))


def is_text(schema: Any) -> bool:
    """Whether a schema says that an argument is text."""
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "string":
        return True
    choices = schema.get("enum")
    return "type" not in schema and isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)


def json_of(text: str, schema: Any) -> str:
    """JSON of a value that is not text by its schema: what it looks like, else text."""
    text = text.strip()
    kinds = schema.get("type") if isinstance(schema, dict) else None
    if kinds == "boolean" and text.lower() in {"true", "false"}:
        return text.lower()
    if text == "None":
        return "null"
    try:
        as_json(text)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text
