"""Functionary v3.2 on Llama 3: each part of an answer begins with its recipient, all for text; >>> divides them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.text.incoming import Incoming, Malformed, Waiting
from pacos.text.tools import Tool, ToolFormat

if TYPE_CHECKING:
    from pacos.text.answer import Answer
    from pacos.text.lark import Lark

_NEXT = ">>>"


@dataclass(frozen=True, kw_only=True)
class FunctionaryCalls(ToolFormat):
    """Parts, each a line with the recipient and then its text or arguments."""

    def read(self, incoming: Incoming, answer: "Answer", opener: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        """Read the whole answer."""
        while True:
            incoming.marked = incoming.at
            try:
                yield from incoming.take(_NEXT)
                name, _ = yield from incoming.text_until("\n", most=256)
                if name.strip() != "all":
                    yield from self._call(incoming, answer, name.strip(), schemas)
            except Malformed:
                incoming.go_back()
            incoming.marked = None
            if not (yield from incoming.until((_NEXT,), answer.say)):
                return

    def _call(self, incoming: Incoming, answer: "Answer", name: str, schemas: Mapping[str, Any]) -> Waiting[None]:
        if schemas and name not in schemas:
            raise Malformed
        yield from incoming.spaces()
        if (yield from incoming.peek()) != "{":
            raise Malformed
        incoming.marked = None
        answer.begin_call(name)
        yield from incoming.json_value(answer.argue)

    def grammar(self, lark: "Lark", tools: Sequence[Tool], *, parallel: bool) -> str:
        """Recipients with arguments."""
        calls = [f"{lark.text(tool.name + chr(10))} {lark.json(lark.schema_of(tool, tools), tools)}" for tool in tools]
        call = lark.rule("call", " | ".join(calls))
        return f"{call} ({lark.text(_NEXT)} {call})*" if parallel else call

    def optional(self, lark: "Lark", calls: str, tools: Sequence[Tool]) -> str:
        """A text for all, or calls, or one and then the others."""
        said = lark.text("all\n")
        return f"{calls} | {said} {lark.free()} | {said} {lark.through(_NEXT)} {calls}"


FORMAT = FunctionaryCalls(name="functionary_v32", signs=((">>>all",),), order=10, reads_all=True, at_start=True)
