"""Write a grammar in Lark for llguidance, with control tokens as tokens and the schemas of tools in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pacos.text.schema import schema_text

if TYPE_CHECKING:
    from pacos.text.tools import Tool


class Lark:
    """Rules of one grammar. `control_id` gives the id of a text that is a control token, else None."""

    def __init__(self, control_id: Callable[[str], int | None]) -> None:
        self._control_id = control_id
        self._rules: list[str] = []
        self._count = 0

    def rule(self, about: str, body: str, options: str = "") -> str:
        """Add a rule; give its name."""
        name = self.name(about)
        self._rules.append(f"{name}{options}: {body}")
        return name

    def name(self, about: str) -> str:
        """A name for a rule that `define` will say."""
        self._count += 1
        return f"{about}_{self._count}"

    def define(self, name: str, body: str) -> None:
        """Say what a name means that was given before."""
        self._rules.append(f"{name}: {body}")

    def text(self, text: str) -> str:
        """A plain text; empty for none."""
        return json.dumps(text, ensure_ascii=False) if text else ""

    def marker(self, text: str) -> str:
        """A marker: a control token where the vocabulary has it as one, else text."""
        token = self._control_id(text) if text else None
        return self.text(text) if token is None else f"<[{token}]>"

    def marked(self, text: str) -> str:
        """A text that may end in a marker, such as a line end and the marker."""
        start = text.rfind("<")
        if start > 0 and self.is_token(text[start:]):
            return f"{self.text(text[:start])} {self.marker(text[start:])}"
        return self.marker(text)

    def is_token(self, text: str) -> bool:
        """Whether a marker is one control token."""
        return self._control_id(text) is not None

    def free(self, also: Iterable[str] = (), avoid: str = "") -> str:
        """Any text that does not begin with `avoid`, and with it those markers that are control tokens."""
        ids = self._ids(also)
        first = self.rule("free", self._text("(?s:.*)", avoid))
        if not ids:
            return first
        return self.rule("free", f"{first} (<[{ids}]> {self.rule('free', '/(?s:.*)/')})*")

    def through(self, marker: str, also: Iterable[str] = (), avoid: str = "") -> str:
        """Any text, as `free` has it, up to and with a marker."""
        if self.is_token(marker):
            return self.rule("lead", f"{self.free(also, avoid)} {self.marker(marker)}")
        ending = self.rule("end", self._text(f"(?s:.*){_quoted(marker)}", avoid), "[lazy]")
        ids = self._ids(also)
        return self.rule("lead", f"(/(?s:.*)/ <[{ids}]>)* {ending}") if ids else ending

    def begun(self, marker: str) -> str:
        """A marker after white space, where text that does not begin so is the other way to go on."""
        if self.is_token(marker):
            return self.marker(marker)
        return self.rule("begin", f"/\\s*{_quoted(marker)}/", "[lazy]")

    def _ids(self, markers: Iterable[str]) -> str:
        found = {token for marker in markers if (token := self._control_id(marker)) is not None}
        return ",".join(map(str, sorted(found)))

    def _text(self, regex: str, avoid: str) -> str:
        """A lexeme. Lexemes are matched side by side, so what one shall not take has to be taken out of it."""
        if not avoid or self.is_token(avoid):
            return f"/{regex}/"
        name = self.name("TEXT")
        self.define(name, f"/{regex}/ & ~/(?s:\\s*{_quoted(avoid)}.*)/")
        return name

    def json(self, schema: Mapping[str, Any], tools: Sequence[Tool]) -> str:
        """JSON of a schema, which may have `schema_of` these tools in it."""
        definitions = {
            f"tool{index}": _moved(dict(tool.schema), f"#/$defs/tool{index}") for index, tool in enumerate(tools)
        }
        whole = {**schema, "$defs": definitions}
        return self.rule("json", f"%json {schema_text(whole, lenient=not all(tool.strict for tool in tools))}")

    def schema_of(self, tool: Tool, tools: Sequence[Tool], path: str = "") -> dict[str, Any]:
        """A reference to a tool's schema, or to a part of it, in what `json` writes for the same tools."""
        return {"$ref": f"#/$defs/tool{list(tools).index(tool)}{path}"}

    def written(self, start: str) -> str:
        """The grammar that begins with this."""
        return "\n".join([f"start: {start}", *self._rules, ""])


def _quoted(text: str) -> str:
    return re.sub(r"[^\w]", lambda found: f"\\x{{{ord(found[0]):X}}}", text)


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at another place now, with its references to itself changed."""
    if isinstance(schema, dict):
        return {
            key: place + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, place)
            for key, value in schema.items()
            if key not in {"$schema", "$id"}
        }
    return [_moved(value, place) for value in schema] if isinstance(schema, list) else schema
