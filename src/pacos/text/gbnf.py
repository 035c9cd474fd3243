"""Grammars in GBNF, llama.cpp's notation, rewritten in Lark as llguidance reads it.

llguidance cuts text into lexemes, the longest that fits, before it parses; GBNF knows no lexemes. So that both mean
the same, a grammar without recursion becomes a single lexeme. In one with recursion each character is one, save for
what is proved to be a lexeme, such as a quoted text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from pacos.errors import UsageError
from pacos.text.gbnf_lexemes import (
    LAST,
    Call,
    Chars,
    Choice,
    Lexemes,
    Node,
    Repeat,
    Row,
    Token,
    below,
    inverted,
    merged,
    split,
)

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_TIMES = re.compile(r"\{[ \t]*(\d{1,9})[ \t]*(,?)[ \t]*(\d{1,9})?[ \t]*\}")
_TOKEN = re.compile(r"(!?)<(?:\[(\d{1,9})\]|([^<>\s]{1,256}))>")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_PLAIN = {"t": "\t", "r": "\r", "n": "\n", **{char: char for char in '\\"[]-^'}}
_DEEPEST = 100
_SURROGATES = range(0xD800, 0xE000)


class _Reader:
    """Reads one grammar, left to right."""

    def __init__(self, text: str, token_id: Callable[[str], int | None]) -> None:
        self.text = text
        self.at = 0
        self.token_id = token_id
        self.rules: dict[str, Node] = {}

    def fail(self, problem: str, hint: str = "see llama.cpp's GBNF guide") -> UsageError:
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        return UsageError(f"the grammar is wrong at line {line}, column {column}: {problem}", hint=hint)

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take_rules(self) -> None:
        self.skip(_LINES)
        while self.at < len(self.text):
            name = _NAME.match(self.text, self.at)
            if name is None:
                raise self.fail(f"a rule's name is missing before {self.text[self.at : self.at + 20]!r}")
            self.at = name.end()
            self.skip(_SPACE)
            if not self.text.startswith("::=", self.at):
                raise self.fail(f"::= is missing after {name[0]!r}")
            self.at += 3
            self.skip(_LINES)
            self.rules[name[0]] = self.alternatives(0)
            if self.at < len(self.text) and self.peek() not in "\r\n":
                raise self.fail(f"{self.peek()!r} is not expected here")
            self.skip(_LINES)

    def alternatives(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self.fail(f"brackets nest deeper than {_DEEPEST} levels")
        found = [self.sequence(depth)]
        while True:
            start = self.at
            self.skip(_LINES)
            if self.peek() != "|":
                self.at = self.at if depth else start
                return Choice(tuple(found)) if len(found) > 1 else found[0]
            self.at += 1
            self.skip(_LINES)
            found.append(self.sequence(depth))

    def sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while True:
            self.skip(_LINES if depth else _SPACE)
            item = self.item(depth)
            if item is None:
                return Row(tuple(items))
            self.skip(_LINES if depth else _SPACE)
            item = self.repeated(item)
            items += item.items if isinstance(item, Row) else (item,)

    def item(self, depth: int) -> Node | None:
        char = self.peek()
        if char == '"':
            return self.literal()
        if char == "[":
            return self.char_class()
        if char == ".":
            self.at += 1
            return Chars(((0, LAST),))
        if char == "(":
            self.at += 1
            inner = self.alternatives(depth + 1)
            if self.peek() != ")":
                raise self.fail("a closing bracket is missing")
            self.at += 1
            return inner
        if char in {"<", "!"}:
            return self.token()
        name = _NAME.match(self.text, self.at)
        if name is None:
            return None
        self.at = name.end()
        return Call(name[0])

    def repeated(self, item: Node) -> Node:
        """The item as often as what follows it says."""
        char = self.peek()
        if char and char in "*+?":
            self.at += 1
            return Repeat(item, int(char == "+"), 1 if char == "?" else None)
        if char != "{":
            return item
        found = _TIMES.match(self.text, self.at)
        if found is None:
            raise self.fail("this is no repetition", hint="use {m}, {m,} or {m,n}")
        low, comma, high = found.groups()
        if high and (not comma or int(high) < int(low)):
            raise self.fail(f"{found[0]} repeats no number of times")
        self.at = found.end()
        return Repeat(item, int(low), int(high) if high else None if comma else int(low))

    def token(self) -> Node:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise self.fail("this is no token", hint="write <[id]> or <name>")
        token = int(found[2]) if found[2] else self.token_id(f"<{found[3]}>")
        if token is None:
            raise self.fail(f"the vocabulary has no token <{found[3]}>")
        self.at = found.end()
        return Token(f"<[{'^' if found[1] else ''}{token}]>")

    def char(self) -> str:
        char = self.peek()
        if not char:
            raise self.fail("the grammar ends inside a literal")
        if char != "\\":
            self.at += 1
            return char
        found = _ESCAPE.match(self.text, self.at)
        code = int(next(filter(None, found.groups()[:3])), 16) if found and not found[4] else None
        known = found is not None and (found[4] in _PLAIN if code is None else code <= LAST)
        if found is None or not known or code in _SURROGATES:
            raise self.fail(f"the escape {self.text[self.at : self.at + 2]!r} is unknown, or stands for no character")
        self.at = found.end()
        return _PLAIN[found[4]] if code is None else chr(code)

    def literal(self) -> Node:
        self.at += 1
        chars: list[Node] = []
        while self.peek() != '"':
            code = ord(self.char())
            chars.append(Chars(((code, code),)))
        self.at += 1
        return Row(tuple(chars))

    def char_class(self) -> Node:
        self.at += 1
        negated = self.peek() == "^"
        self.at += negated
        ranges = []
        while self.peek() != "]":
            low = high = self.char()
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                high = self.char()
                if high < low:
                    raise self.fail(f"the range {low}-{high} is empty")
            ranges.append((ord(low), ord(high)))
        self.at += 1
        found = inverted(merged(ranges)) if negated else merged(ranges)
        if not found:
            raise self.fail("an empty set of characters fits nothing")
        return Chars(found)


def gbnf_to_lark(text: str, token_id: Callable[[str], int | None]) -> str:
    """The same grammar in llguidance's Lark; `token_id` finds tokens that the grammar names.

    Errors: UsageError naming the line and what is wrong there.
    """
    reader = _Reader(text, token_id)
    reader.take_rules()
    rules = reader.rules
    if "root" not in rules:
        raise UsageError("the grammar has no rule named root", hint="GBNF starts at root ::= ...")
    for name, rule in rules.items():
        if missing := sorted(_calls(rule) - rules.keys()):
            raise UsageError(f"the grammar's rule {name!r} uses {missing[0]!r}, which is not defined")
    reached = {name: rules[name] for name in sorted(_reached(rules))}
    tokens = any(isinstance(node, Token) for rule in reached.values() for node in below(rule))
    simple = not tokens and not _recursive(reached)
    writer = _Writer(reached, frozenset() if simple else Lexemes(reached).chosen(), "R" if simple else "r")
    return writer.written()


class _Writer:
    """Writes rules as Lark, those named with a capital as terminals."""

    def __init__(self, rules: Mapping[str, Node], lexemes: frozenset[Row], letter: str) -> None:
        self._rules = rules
        self._names = {name: f"{letter}{index}" for index, name in enumerate(rules)}
        self._lexemes = {lexeme: f"L{index}" for index, lexeme in enumerate(sorted(lexemes, key=repr))}
        self._kept = lexemes

    def written(self) -> str:
        """The whole grammar."""
        lines = [f"start: {self._names['root']}"]
        lines += [f"{self._names[name]}: {self._lark(rule)}" for name, rule in self._rules.items()]
        self._kept = frozenset()  # what is in a lexeme is written out
        lines += [f"{name}: {self._lark(lexeme)}" for lexeme, name in self._lexemes.items()]
        return "\n".join([*lines, ""])

    def _lark(self, node: Node) -> str:
        if node in self._kept and isinstance(node, Row):
            return self._lexemes[node]
        if isinstance(node, Chars):
            return f"/{_regex(node)}/"
        if isinstance(node, Token):
            return node.lark
        if isinstance(node, Call):
            return self._names[node.name]
        if isinstance(node, Row):
            return " ".join(self._grouped(item) for item in split(node, self._kept)) or '""'
        if isinstance(node, Choice):
            return " | ".join(self._lark(item) for item in node.items)
        most = "" if node.most is None else node.most
        times = f"{{{node.least},{most}}}" if node.least != node.most else f"{{{node.least}}}"
        short = {(0, None): "*", (1, None): "+", (0, 1): "?"}
        return f"({self._lark(node.item)}){short.get((node.least, node.most), times)}"

    def _grouped(self, node: Node) -> str:
        return f"({self._lark(node)})" if isinstance(node, Choice) else self._lark(node)


def _regex(chars: Chars) -> str:
    parts = []
    for low, high in chars.ranges:
        low = _SURROGATES.stop if low in _SURROGATES else low  # no text has these
        high = _SURROGATES.start - 1 if high in _SURROGATES else high
        parts.append(f"\\x{{{low:X}}}" + (f"-\\x{{{high:X}}}" if high > low else ""))
    return f"[{''.join(parts)}]"


def _calls(node: Node) -> set[str]:
    return {found.name for found in below(node) if isinstance(found, Call)}


def _reached(rules: Mapping[str, Node]) -> set[str]:
    found, todo = {"root"}, ["root"]
    while todo:
        new = _calls(rules[todo.pop()]) - found
        found |= new
        todo += new
    return found


def _recursive(rules: Mapping[str, Node]) -> bool:
    """Whether a rule that root reaches leads back to itself."""
    done: set[str] = set()
    path: list[tuple[str, Iterator[str]]] = [("root", iter(_calls(rules["root"])))]
    while path:
        name, calls = path[-1]
        following = next(calls, None)
        if following is None:
            done.add(name)
            path.pop()
        elif any(following == above for above, _ in path):
            return True
        elif following not in done:
            path.append((following, iter(_calls(rules[following]))))
    return False
