"""Templates of Ollama, in Go's language, as Jinja that writes the same.

Those of two kinds are understood. One that names `.Messages` is run once over the whole conversation. Any other is run
once a turn, with `.System`, `.Prompt` and `.Response`; of the last turn what follows `.Response` is left for the model.
Tools, thoughts and pictures are not: whoever needs them writes the template in Jinja.

Source: text/template of Go; template/template.go of Ollama.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pacos.errors import UsageError

_DEPTH_MAX = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<number>-?\d{1,9}(?![\w.]))
    |(?P<field>\.[A-Za-z]\w*)|(?P<dot>\.)|(?P<variable>\$\w*)|(?P<word>[A-Za-z]\w*)|(?P<sign>:=|[=|(),]))""",
    re.VERBOSE | re.ASCII,
)
_USED = re.compile(r"\$(\w+)", re.ASCII)
_NAMED = re.compile(r"\$(\w+)\s*(?:,\s*\$(\w+)\s*)?:=", re.ASCII)
_CONDITION = re.compile(r"(if|with|range)\b")
_OF_ROOT = {"System": "go.system", "Prompt": "go.prompt", "Response": "go.response", "Messages": "messages"}
_OF_MESSAGE = {"Role": "role", "Content": "content"}
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_WORDS = {"true": "true", "false": "false", "nil": "none"}
_ROOT = ""  # the dot outside of ranges

_JOINED = """{%- set go = namespace(system="", prompt="", response="") -%}{%- set v = namespace() -%}
{%- for message in messages if message.role in ("system", "developer") -%}
{%- set go.system = go.system ~ ("\\n\\n" if go.system else "") ~ message.content -%}
{%- endfor -%}
"""
_TURNS = (
    """{%- set go = namespace(system="", prompt="", response="", last="") -%}{%- set v = namespace() -%}
{%- for message in messages -%}
{%- set role = "system" if message.role == "developer" else message.role -%}
{%- set same = role == go.last -%}
{%- if not same and (role == "user" and go.response or role == "system" and (go.prompt or go.response)) -%}
""",
    """{%- set go.system = "" -%}{%- set go.prompt = "" -%}{%- set go.response = "" -%}
{%- endif -%}
{%- set go.last = role -%}
{%- if role == "system" -%}{%- set go.system = (go.system ~ "\\n\\n" if same else "") ~ message.content -%}
{%- elif role == "assistant" -%}{%- set go.response = (go.response ~ "\\n\\n" if same else "") ~ message.content -%}
{%- else -%}{%- set go.prompt = (go.prompt ~ "\\n\\n" if same else "") ~ message.content -%}
{%- endif -%}
{%- endfor -%}
""",
)


def jinja_of(text: str) -> str:
    """The same template in Jinja. Errors: UsageError for what is not understood."""
    nodes = _Parser(text).nodes()
    said = " ".join(_actions(nodes))
    if unknown := sorted(set(_USED.findall(said)) - {name for pair in _NAMED.findall(said) for name in pair}):
        raise UsageError(f"nothing names the variable ${unknown[0][:40]}")
    if any(".Messages" in action for action in _actions(nodes)):
        return _JOINED + _Writer().written(nodes)
    if not any(".Response" in action for action in _actions(nodes)):
        nodes = [*nodes, _Node("", ".Response")]
    whole, last = _Writer().written(nodes), _Writer(cuts=True).written(nodes)
    before, after = _TURNS
    return before + whole + after + last


@dataclass(slots=True)
class _Node:
    """A literal (`kind` "text"), an action (""), or a block; what the action says, and what stands inside."""

    kind: str
    said: str
    inside: list[_Node] = field(default_factory=list)
    otherwise: list[_Node] = field(default_factory=list)


def _actions(nodes: Sequence[_Node]) -> Iterator[str]:
    for node in nodes:
        if node.kind != "text":
            yield node.said
        yield from _actions(node.inside)
        yield from _actions(node.otherwise)


class _Parser:
    """The blocks of a template."""

    def __init__(self, text: str) -> None:
        self._pieces = list(_pieces(text))
        self._place = 0

    def nodes(self) -> list[_Node]:
        """All of it. Errors: UsageError."""
        found, end = self._until_end(0)
        if end:
            raise UsageError(f"{end} without a beginning")
        return found

    def _until_end(self, depth: int) -> tuple[list[_Node], str]:
        if depth > _DEPTH_MAX:
            raise UsageError(f"blocks lie in more than {_DEPTH_MAX} others")
        found: list[_Node] = []
        while self._place < len(self._pieces):
            kind, said = self._pieces[self._place]
            self._place += 1
            if kind == "text" or not said.startswith(("end", "else", "if", "with", "range")):
                found.append(_Node(kind, said))
            elif said == "end" or re.match(r"else\b", said):
                return found, said
            elif begun := _CONDITION.match(said):
                found.append(self._block(begun[1], said[begun.end() :], depth))
            else:
                found.append(_Node(kind, said))
        return found, ""

    def _block(self, kind: str, condition: str, depth: int) -> _Node:
        inside, end = self._until_end(depth + 1)
        otherwise: list[_Node] = []
        if end.startswith("else"):
            more = end.removeprefix("else").strip()
            if more:
                begun = _CONDITION.match(more)
                if begun is None:
                    raise UsageError(f"{end[:40]!a} is no branch")
                otherwise, end = [self._block(begun[1], more[begun.end() :], depth + 1)], "end"
            else:
                otherwise, end = self._until_end(depth + 1)
        if end != "end":
            raise UsageError(f"{kind} without an end")
        return _Node(kind, condition, inside, otherwise)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Literals and actions by turns, with the blanks gone that an action takes away; no comments."""
    place, trims = 0, False
    while place < len(text):
        start = text.find("{{", place)
        literal = text[place:] if start < 0 else text[place:start]
        if trims:
            literal = literal.lstrip(" \t\r\n")
        if start < 0:
            yield "text", literal
            return
        end = text.find("}}", start + 2)
        if end < 0:
            raise UsageError("{{ without }}")
        action = text[start + 2 : end]
        if re.match(r"-\s", action):
            literal, action = literal.rstrip(" \t\r\n"), action[1:]
        trims = bool(re.search(r"\s-\Z", action))
        if literal:
            yield "text", literal
        action = (action[:-1] if trims else action).strip()
        if not (action.startswith("/*") and action.endswith("*/")):
            yield "", action
        place = end + 2


class _Writer:
    """Writes nodes in Jinja; one that `cuts` ends with the model's answer."""

    def __init__(self, *, cuts: bool = False) -> None:
        self._cuts = cuts
        self._done = False
        self._ranges = 0

    def written(self, nodes: Sequence[_Node], dot: str = _ROOT) -> str:
        """The nodes where the dot means that. Errors: UsageError."""
        return "".join(self._one(node, dot) for node in nodes)

    def _one(self, node: _Node, dot: str) -> str:
        if self._done:
            return ""
        if node.kind == "text":
            return f"{{{{- {json.dumps(node.said, ensure_ascii=False)} -}}}}"
        if node.kind == "":
            self._done = self._cuts and ".Response" in node.said
            return _action(node.said, dot)
        if node.kind == "range":
            return self._range(node, dot)
        names, condition = _parted(node.said, dot)
        if names and node.kind == "if":
            raise UsageError(f"if {node.said.strip()[:40]!a} names a variable")
        before, inner = "", dot
        if node.kind == "with":
            self._ranges += 1
            inner = f"dot{self._ranges}"
            before, condition = f"{{%- set {inner} = {condition} -%}}", inner
            before += "".join(_kept(name, inner) for name in names)
        inside = self.written(node.inside, inner)
        otherwise = self.written(node.otherwise, dot)
        branch = f"{{%- else -%}}{otherwise}" if otherwise else ""
        return f"{before}{{%- if {condition} -%}}{inside}{branch}{{%- endif -%}}"

    def _range(self, node: _Node, dot: str) -> str:
        names, over = _parted(node.said, dot)
        self._ranges += 1
        inner = f"dot{self._ranges}"
        kept = [*([_kept(names[0], "loop.index0")] if len(names) == 2 else []), *(_kept(n, inner) for n in names[-1:])]
        inside = self.written(node.inside, inner)
        otherwise = self.written(node.otherwise, dot)
        branch = f"{{%- else -%}}{otherwise}" if otherwise else ""
        return f"{{%- for {inner} in {over} -%}}{''.join(kept)}{inside}{branch}{{%- endfor -%}}"


def _kept(name: str, value: str) -> str:
    return f"{{%- set v.x{name} = {value} -%}}"


def _action(said: str, dot: str) -> str:
    if said in ("break", "continue"):
        return f"{{%- {said} -%}}"
    names, value = _parted(said, dot)
    if len(names) > 1:
        raise UsageError(f"{said[:40]!a} names several variables")
    return _kept(names[0], value) if names else f"{{{{- {value} -}}}}"


def _parted(said: str, dot: str) -> tuple[list[str], str]:
    """The variables that an action names, and its value in Jinja. Errors: UsageError."""
    tokens = _tokens(said)
    names: list[str] = []
    for place, (kind, text) in enumerate(tokens):
        if text in (":=", "=") and kind == "sign":
            names = [one[1:] for kind, one in tokens[:place] if kind == "variable"]
            if not names or len(names) != (place + 1) // 2 or not all(names):
                raise UsageError(f"{said[:40]!a} is no assignment")
            tokens = tokens[place + 1 :]
            break
    value = _Value(tokens, dot, said)
    return names, value.whole()


def _tokens(said: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place = 0
    said = said.rstrip()
    while place < len(said):
        one = _TOKEN.match(said, place)
        if one is None:
            raise UsageError(f"{said[place : place + 40]!a} is not understood")
        kind = str(one.lastgroup)
        glued = kind == "field" and found and one.start() == one.start(kind) and found[-1][0] in ("field", "variable")
        found.append(("more" if glued else kind, one[kind]))
        place = one.end()
    return found


class _Value:
    """An expression of Go's."""

    def __init__(self, tokens: list[tuple[str, str]], dot: str, said: str) -> None:
        self._tokens = tokens
        self._dot = dot
        self._said = said
        self._depth = 0

    def whole(self) -> str:
        """All of it in Jinja. Errors: UsageError."""
        found = self._pipeline()
        if self._tokens:
            raise UsageError(f"{self._said.strip()[:40]!a} is not understood")
        return found

    def _next(self) -> tuple[str, str]:
        return self._tokens[0] if self._tokens else ("end", "")

    def _pipeline(self) -> str:
        found = self._command([])
        while self._next() == ("sign", "|"):
            self._tokens.pop(0)
            found = self._command([found])
        return found

    def _command(self, last: list[str]) -> str:
        kind, name = self._next()
        called = kind == "word" and name not in _WORDS
        if called:
            self._tokens.pop(0)
        given: list[str] = []
        while self._next()[0] != "end" and self._next() not in (("sign", "|"), ("sign", ")")):
            given.append(self._operand())
        given += last
        if called:
            return _called(name, given)
        if len(given) != 1:
            raise UsageError(f"{self._said.strip()[:40]!a} is no value")
        return given[0]

    def _operand(self) -> str:
        kind, text = self._tokens.pop(0)
        if kind == "text":
            return json.dumps(_unquoted(text), ensure_ascii=False)
        if kind == "number":
            return text
        if kind == "word" and text in _WORDS:
            return _WORDS[text]
        if kind == "sign" and text == "(":
            self._depth += 1
            if self._depth > _DEPTH_MAX:
                raise UsageError(f"more than {_DEPTH_MAX} brackets lie in each other")
            inside = self._pipeline()
            self._depth -= 1
            if self._next() != ("sign", ")"):
                raise UsageError(f"{self._said.strip()[:40]!a} has an open bracket")
            self._tokens.pop(0)
            return inside
        if kind not in ("field", "dot", "variable"):
            raise UsageError(f"{text[:40]!a} is not understood")
        names = [text[1:]] if kind == "field" else []
        while self._next()[0] == "more":
            names.append(self._tokens.pop(0)[1][1:])
        return _looked_up(self._dot if kind != "variable" else text, names)


def _looked_up(start: str, names: list[str]) -> str:
    """A field: of the root, of what the dot means, or of a variable."""
    if start in (_ROOT, "$"):
        if not names or names[0] not in _OF_ROOT:
            known = ", ".join(f".{name}" for name in _OF_ROOT)
            raise UsageError(f".{''.join(names[:1])[:40]} is not known; there are {known}")
        found, names = _OF_ROOT[names[0]], names[1:]
    else:
        found = f"v.x{start[1:]}" if start.startswith("$") else start
    for name in names:
        if name not in _OF_MESSAGE:
            raise UsageError(f".{name[:40]} is not known; a message has .Role and .Content")
        found = f"{found}.{_OF_MESSAGE[name]}"
    return found


def _called(name: str, given: list[str]) -> str:
    count = len(given)
    if name in _SIGNS and count >= 2 and (count == 2 or name == "eq"):
        return f"({' or '.join(f'{given[0]} {_SIGNS[name]} {one}' for one in given[1:])})"
    if name in ("and", "or") and given:
        return f"({f' {name} '.join(given)})"
    if name == "not" and count == 1:
        return f"(not {given[0]})"
    if name == "len" and count == 1:
        return f"({given[0]} | length)"
    if name == "slice" and count in (2, 3):
        return f"{given[0]}[{':'.join([*given[1:], ''] if count == 2 else given[1:])}]"
    if name == "index" and count == 2:
        return f"{given[0]}[{given[1]}]"
    raise UsageError(f"{name[:40]} of {count} values is not understood")


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    try:
        found: str = json.loads(text)
    except ValueError:
        raise UsageError(f"{text[:40]} is not understood") from None
    return found
