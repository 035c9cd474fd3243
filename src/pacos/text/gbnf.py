"""Grammars in GBNF, llama.cpp's notation, rewritten in Lark as llguidance reads it.

llguidance cuts text into lexemes, the longest that fits, before it parses; GBNF knows no lexemes. So that both mean
the same, a grammar without recursion becomes a single lexeme, and in one with recursion each character is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pacos.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_TIMES = re.compile(r"\{[ \t]*(\d{1,9})[ \t]*(,?)[ \t]*(\d{1,9})?[ \t]*\}")
_TOKEN = re.compile(r"(!?)<(?:\[(\d{1,9})\]|([^<>\s]{1,256}))>")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_PLAIN = {"t": "\t", "r": "\r", "n": "\n", **{char: char for char in '\\"[]-^'}}
_DEEPEST = 100


@dataclass(slots=True)
class _Rule:
    lark: str  # with {names} of other rules between control characters
    calls: set[str] = field(default_factory=set)
    tokens: bool = False


class _Reader:
    """Reads one grammar, left to right."""

    def __init__(self, text: str, token_id: Callable[[str], int | None]) -> None:
        self.text = text
        self.at = 0
        self.token_id = token_id
        self.rules: dict[str, _Rule] = {}
        self.rule = _Rule("")

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
            self.rule = _Rule("")
            self.rule.lark = self.alternatives(0)
            self.rules[name[0]] = self.rule
            if self.at < len(self.text) and self.peek() not in "\r\n":
                raise self.fail(f"{self.peek()!r} is not expected here")
            self.skip(_LINES)

    def alternatives(self, depth: int) -> str:
        if depth > _DEEPEST:
            raise self.fail(f"brackets nest deeper than {_DEEPEST} levels")
        found = [self.sequence(depth)]
        while True:
            start = self.at
            self.skip(_LINES)
            if self.peek() != "|":
                self.at = self.at if depth else start
                return " | ".join(found)
            self.at += 1
            self.skip(_LINES)
            found.append(self.sequence(depth))

    def sequence(self, depth: int) -> str:
        parts: list[str] = []
        while True:
            self.skip(_LINES if depth else _SPACE)
            item = self.item(depth)
            if item is None:
                return " ".join(parts) or '""'
            self.skip(_LINES if depth else _SPACE)
            parts.append(item + self.repeats())

    def item(self, depth: int) -> str | None:
        char = self.peek()
        if char == '"':
            return self.literal()
        if char == "[":
            return self.char_class()
        if char == ".":
            self.at += 1
            return "/[\\s\\S]/"
        if char == "(":
            self.at += 1
            inner = self.alternatives(depth + 1)
            if self.peek() != ")":
                raise self.fail("a closing bracket is missing")
            self.at += 1
            return f"({inner})"
        if char in {"<", "!"}:
            return self.token()
        name = _NAME.match(self.text, self.at)
        if name is None:
            return None
        self.at = name.end()
        self.rule.calls.add(name[0])
        return f"\0{name[0]}\0"

    def repeats(self) -> str:
        char = self.peek()
        if char and char in "*+?":
            self.at += 1
            return char
        if char != "{":
            return ""
        found = _TIMES.match(self.text, self.at)
        if found is None:
            raise self.fail("this is no repetition", hint="use {m}, {m,} or {m,n}")
        low, comma, high = found.groups()
        if high and (not comma or int(high) < int(low)):
            raise self.fail(f"{found[0]} repeats no number of times")
        self.at = found.end()
        return f"{{{low},{high or ''}}}" if comma else f"{{{low}}}"

    def token(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise self.fail("this is no token", hint="write <[id]> or <name>")
        token = int(found[2]) if found[2] else self.token_id(f"<{found[3]}>")
        if token is None:
            raise self.fail(f"the vocabulary has no token <{found[3]}>")
        self.at = found.end()
        self.rule.tokens = True
        return f"<[{'^' if found[1] else ''}{token}]>"

    def char(self) -> str:
        char = self.peek()
        if not char:
            raise self.fail("the grammar ends inside a literal")
        if char != "\\":
            self.at += 1
            return char
        found = _ESCAPE.match(self.text, self.at)
        code = int(next(filter(None, found.groups()[:3])), 16) if found and not found[4] else None
        if found is None or (code is None and found[4] not in _PLAIN) or (code is not None and code > 0x10FFFF):
            raise self.fail(f"the escape {self.text[self.at : self.at + 2]!r} is unknown")
        self.at = found.end()
        return _PLAIN[found[4]] if code is None else chr(code)

    def literal(self) -> str:
        self.at += 1
        chars = []
        while self.peek() != '"':
            chars.append(f"/{_regex_char(self.char())}/")
        self.at += 1
        return chars[0] if len(chars) == 1 else f"({' '.join(chars) or _NOTHING})"

    def char_class(self) -> str:
        self.at += 1
        negated = "^" if self.peek() == "^" else ""
        self.at += len(negated)
        parts = []
        while self.peek() != "]":
            low = self.char()
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                high = self.char()
                if high < low:
                    raise self.fail(f"the range {low}-{high} is empty")
                parts.append(f"{_regex_char(low)}-{_regex_char(high)}")
            else:
                parts.append(_regex_char(low))
        self.at += 1
        if not parts:
            raise self.fail("an empty set of characters fits nothing")
        return f"/[{negated}{''.join(parts)}]/"


_NOTHING = '""'


def _regex_char(char: str) -> str:
    return char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):X}}}"


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
        if missing := sorted(rule.calls - rules.keys()):
            raise UsageError(f"the grammar's rule {name!r} uses {missing[0]!r}, which is not defined")
    reached = _reached(rules)
    simple = not _recursive(rules) and not any(rules[name].tokens for name in reached)
    names = {name: f"{'R' if simple else 'r'}{index}" for index, name in enumerate(sorted(reached))}
    lines = [f"{names[name]}: {_renamed(rules[name].lark, names)}" for name in sorted(reached)]
    return "\n".join([f"start: {names['root']}", *lines, ""])


def _renamed(lark: str, names: dict[str, str]) -> str:
    return re.sub("\0([^\0]+)\0", lambda found: names[found[1]], lark)


def _reached(rules: dict[str, _Rule]) -> set[str]:
    found, todo = {"root"}, ["root"]
    while todo:
        new = rules[todo.pop()].calls - found
        found |= new
        todo += new
    return found


def _recursive(rules: dict[str, _Rule]) -> bool:
    """Whether a rule that root reaches leads back to itself."""
    done: set[str] = set()
    path: list[tuple[str, Iterator[str]]] = [("root", iter(rules["root"].calls))]
    while path:
        name, calls = path[-1]
        following = next(calls, None)
        if following is None:
            done.add(name)
            path.pop()
        elif any(following == above for above, _ in path):
            return True
        elif following not in done:
            path.append((following, iter(rules[following].calls)))
    return False
