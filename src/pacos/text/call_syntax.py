"""Ways of writing tool calls that several formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.incoming import Emit, Incoming, Malformed, Waiting
from pacos.text.tools import Tool, ToolFormat

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark

_NAME_KEYS = ("name", "tool_name", "function")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
_ID_KEYS = ("id", "call_id")
_ANY: Mapping[str, Any] = {}


class NamedCall:
    """A call while it is read: begins in the answer once its name is known."""

    def __init__(self, incoming: Incoming, answer: Answer, schemas: Mapping[str, Any]) -> None:
        self.incoming = incoming
        self.answer = answer
        self.schemas = schemas
        self.id = ""
        self.begun = False
        self._early: list[str] = []  # arguments that come before the name

    def name(self, name: str) -> None:
        """Begin it. Errors: Malformed for a name that is none, or none of the tools'."""
        if self.begun or not name or (self.schemas and name not in self.schemas):
            raise Malformed
        self.begun = True
        self.incoming.marked = None  # delivered: there is no way back
        self.answer.begin_call(name, self.id)
        self.answer.argue("".join(self._early))

    def argue(self, text: str) -> None:
        """Take a piece of its arguments' JSON."""
        if self.begun:
            self.answer.argue(text)
        else:
            self._early.append(text)

    def drop(self, text: str) -> None:
        """Take what is of no use."""


def read_object(incoming: Incoming, answer: Answer, schemas: Mapping[str, Any] = _ANY) -> Waiting[None]:
    """Read a call such as {"name": "f", "arguments": {...}}; keys as the various models write them.

    With `schemas`, only a call of one of these is one. Errors: Malformed.
    """
    call = NamedCall(incoming, answer, schemas)
    argued = yield from _read_keys(call)
    if not call.begun:
        raise Malformed
    if not argued:
        call.argue("{}")


def _read_keys(call: NamedCall) -> Waiting[bool]:
    incoming, argued = call.incoming, False
    yield from incoming.expect("{")
    yield from incoming.spaces()
    while True:
        key = yield from incoming.json_text()
        yield from incoming.spaces()
        yield from incoming.expect(":")
        yield from incoming.spaces()
        char = yield from incoming.peek()
        if key in _NAME_KEYS and char == '"':
            call.name((yield from incoming.json_text()))
        elif key == "function" and char == "{":
            argued = (yield from _read_keys(call)) or argued
        elif key in _ARGUMENT_KEYS and not argued:
            argued = True
            yield from read_arguments(incoming, call.argue)
        elif key in _ID_KEYS and char == '"' and not call.begun:
            call.id = yield from incoming.json_text()
        else:
            yield from incoming.json_value(call.drop)
        yield from incoming.spaces()
        if (yield from incoming.expect(",", "}")) == "}":
            return argued
        yield from incoming.spaces()


def read_arguments(incoming: Incoming, emit: Emit) -> Waiting[None]:
    """Read arguments: a JSON object, JSON text in a string, or null for none."""
    char = yield from incoming.peek()
    if char == '"':
        emit((yield from incoming.json_text()))
    elif char == "n":
        yield from incoming.expect("null")
        emit("{}")
    else:
        yield from incoming.json_value(emit)


def read_array(incoming: Incoming, answer: Answer, schemas: Mapping[str, Any] = _ANY) -> Waiting[None]:
    """Read a list of calls. Errors: Malformed."""
    yield from incoming.expect("[")
    yield from incoming.spaces()
    while True:
        yield from read_object(incoming, answer, schemas)
        yield from incoming.spaces()
        incoming.marked = incoming.at
        end = yield from incoming.expect(",", "]")
        yield from incoming.spaces()
        if end == "]":
            incoming.marked = None
            return


@dataclass(frozen=True, kw_only=True)
class JsonCalls(ToolFormat):
    """An opener, one JSON object or a list of them, and a closer, which models may forget."""

    closer: str = ""
    array: bool = False
    name_key: str = "name"
    arguments_key: str = "arguments"
    extra: tuple[tuple[str, Any], ...] = ()  # further keys that the model writes, with their schemas
    gap: str = ""  # what models write after the opener and before the closer

    def read(self, incoming: Incoming, answer: Answer, opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read one object, or a list."""
        known = _ANY if opener else schemas
        yield from incoming.spaces()
        if (yield from incoming.begins("[")):
            yield from read_array(incoming, answer, known)
        else:
            yield from read_object(incoming, answer, known)
        if self.closer:
            yield from self._close(incoming)

    def _close(self, incoming: Incoming) -> Waiting[None]:
        incoming.marked = incoming.at
        yield from incoming.spaces()
        if (yield from incoming.close(self.closer)):
            incoming.marked = None

    def grammar(self, lark: Lark, tools: Sequence[Tool], *, parallel: bool) -> str:
        """JSON of a schema that has each tool's schema in it."""
        calls = []
        for tool in tools:
            properties = {self.name_key: {"const": tool.name}, self.arguments_key: lark.schema_of(tool, tools)}
            properties |= dict(self.extra)
            required = [self.name_key, self.arguments_key, *(key for key, _ in self.extra)]
            call = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
            calls.append(call)
        schema: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
        if self.array:
            schema = {"type": "array", "items": schema, "minItems": 1, **({} if parallel else {"maxItems": 1})}
        parts = [lark.text(self.gap), lark.json(schema, tools), lark.text(self.gap), lark.marker(self.closer)]
        return " ".join(filter(None, parts))


@dataclass(frozen=True, kw_only=True)
class NamedCalls(ToolFormat):
    """A section of calls, each with the name in front of its arguments.

    section: what closes the section that the opener began; without it the opener begins a call itself.
    """

    section: str = ""
    head: str = ""  # before each name, inside a section
    number: bool = False  # a number ends what stands before the arguments
    between: tuple[str, ...]  # after the name; the first is the one to write
    closer: tuple[str, ...] = ()  # after the arguments; the first is the one to write, its last part a marker

    def read(self, incoming: Incoming, answer: Answer, opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read calls until something else comes."""
        while True:
            yield from incoming.spaces()
            if self.head and opener != self.head:
                yield from incoming.expect(self.head)
            opener = ""
            call = NamedCall(incoming, answer, _ANY)
            written, _ = yield from incoming.text_until(*self.between, most=256)
            name, call.id = self.split_name(written)
            yield from incoming.spaces()
            if (yield from incoming.peek()) not in {"{", "["}:
                raise Malformed
            call.name(name)
            yield from incoming.json_value(call.argue)
            incoming.marked = incoming.at
            yield from incoming.spaces()
            if self.closer:
                yield from incoming.close(*self.closer)
            incoming.marked = incoming.at
            yield from incoming.spaces()
            if not self.section:
                return
            if (yield from incoming.close(self.section)) or not (yield from incoming.begins(self.head)):
                incoming.marked = None
                return

    def split_name(self, written: str) -> tuple[str, str]:
        """The tool's name and the call's id in what stands before the arguments."""
        return written.strip(), ""

    def write_name(self, tool: Tool) -> tuple[str, ...]:
        """The texts and markers that stand before the arguments of a call."""
        return (tool.name,)

    def grammar(self, lark: Lark, tools: Sequence[Tool], *, parallel: bool) -> str:
        """The name, and JSON of the tool's schema."""
        calls = [
            " ".join(
                filter(
                    None,
                    (
                        *(lark.marker(part) for part in self.write_name(tool)),
                        "/[0-9]+/" if self.number else "",
                        lark.marked(self.between[0]),
                        lark.json(lark.schema_of(tool, tools), tools),
                        lark.marked(self.closer[0]) if self.closer else "",
                    ),
                )
            )
            for tool in tools
        ]
        call = lark.rule("call", " | ".join(calls))
        if not self.section:
            return call
        head = lark.marker(self.head)
        more = f"({head} {call})*" if parallel else ""
        return " ".join(filter(None, (head, call, more, lark.marker(self.section))))
