"""DeepSeek V3.2: invocations with parameters in tags of its own, which say whether a value is text or JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pacos.text.incoming import Incoming, Waiting
from pacos.text.xml_calls import XmlCalls, is_text

_TEXT: dict[str, Any] = {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class DsmlCalls(XmlCalls):
    """Calls whose keys are followed by true for text, and false for JSON."""

    def read_key(self, incoming: Incoming, properties: Mapping[str, Any]) -> Waiting[tuple[str, Any]]:
        """The key, and what its value is by what the tag says."""
        key, schema = yield from super().read_key(incoming, properties)
        kind, _ = yield from incoming.text_until('">', most=16)
        if kind == "true":
            return key, _TEXT
        return key, None if is_text(schema) else schema

    def key_end(self, schema: Any) -> str:
        """What follows a key."""
        return f'{self.key[1]}{"true" if is_text(schema) else "false"}">'


FORMAT = DsmlCalls(
    name="deepseek_v32",
    signs=(("｜DSML｜",),),
    order=5,
    openers=("<｜DSML｜function_calls>",),
    markers=("</｜DSML｜function_calls>",),
    call=('<｜DSML｜invoke name="', '">'),
    key=('<｜DSML｜parameter name="', '" string="'),
    value=("", "</｜DSML｜parameter>"),
    ends=("</｜DSML｜invoke>",),
    closer="</｜DSML｜function_calls>",
    inner="",
)
