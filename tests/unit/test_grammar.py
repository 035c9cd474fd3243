"""Constraints: what they let through, what they refuse, and what they say cannot be enforced."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from constrained import allowed, babble, grammars, plain, write
from hypothesis import given, settings
from hypothesis import strategies as st

from pacos.errors import PacosError, UsageError
from pacos.settings import read
from pacos.settings.constraint import ConstraintOptions
from pacos.text.gbnf import gbnf_to_lark
from pacos.text.grammar import TokenConstraint, answer_grammar

ODD_WORDS = 70  # more logits than tokens, as padded models have


def opened(extra: int = ODD_WORDS, **options: Any) -> TokenConstraint:
    (group,) = read((ConstraintOptions,), options)
    grammar = answer_grammar(group, plain().find)
    assert grammar is not None
    return grammars(plain, extra).constraint([grammar])


def takes(text: str, **options: Any) -> bool:
    """Whether a text is let through token by token, and may end there."""
    constraint = opened(**options)
    return write(constraint, plain(), text) and plain().eog <= allowed(constraint)


JSON_GBNF = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws ( string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws   # a comment
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""

LETS_THROUGH: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("choice", {"choice": ("yes", "yes please", "no")}, ["yes", "yes please", "no"], ["ye", "yes p", "nope", ""]),
    ("choice-quotes", {"choice": ('say "a\\b"\n', "ä")}, ['say "a\\b"\n', "ä"], ["say"]),
    ("regex", {"regex": r"\d{2,3}(/x|\\)?"}, ["12", "123/x", "12\\"], ["1", "1234", "12/"]),
    ("regex-slash", {"regex": r"a\/b/c"}, ["a/b/c"], ["a"]),
    ("regex-lines", {"regex": "a\nb"}, ["a\nb"], ["ab"]),
    ("regex-anchors", {"regex": "^ab?$"}, ["a", "ab"], ["abb"]),
    ("lark", {"lark": 'start: "a" WORD\nWORD: /[b-d]+/'}, ["abcd"], ["a"]),
    ("lark-json", {"lark": 'start: "n=" %json {"type": "integer"}'}, ["n=-12"], ["n=x", "n=1.5"]),
    ("gbnf-greedy", {"grammar": 'root ::= [a-z]+ "x"'}, ["abx", "xx"], ["x", "ab"]),
    ("gbnf-overlap", {"grammar": 'root ::= ("a" | "ab") "bc"'}, ["abc", "abbc"], ["ab"]),
    ("gbnf-recursion", {"grammar": 'root ::= "ab" | "a" root "c" | "abd" root'}, ["aabc", "abdab"], ["abc", "abd"]),
    ("gbnf-escapes", {"grammar": r'root ::= "\x41\u00e4\U0001F600\n" [\]\-\\^]'}, ["Aä😀\n]", "Aä😀\n-"], ["Aä😀\na"]),
    ("gbnf-sets", {"grammar": "root ::= [^a-c\\n]{2} [x-]? ."}, ["dd\n", "ddx\n", "ää-ä"], ["ad\n", "d"]),
    ("gbnf-times", {"grammar": 'root ::= ("ab"){2,} "c"{1} "d"{0,1}'}, ["ababc", "abababcd"], ["abc", "ababcdd"]),
    ("gbnf-lines", {"grammar": 'root ::= a |\n  "z"\na ::= (\n "x" # one\n | "y")\n'}, ["x", "y", "z"], ["a"]),
    ("gbnf-names", {"grammar": "root ::= fooBar-1 foo_bar\nfooBar-1 ::= [a]\nfoo_bar ::= [b]"}, ["ab"], ["a"]),
    ("gbnf-json", {"grammar": JSON_GBNF}, ['{"a": [1, -2.5e3, {}], "b\\n": null}', "{}"], ["[]", '{"a" 1}', '{"a":1']),
    ("schema-any", {"json_schema": {}}, ["1", '"a"', '{"a": [true]}'], ["a", "01", ""]),
    ("schema-types", {"json_schema": {"type": ["integer", "null"]}}, ["7", "null"], ["7.5", '"7"']),
    ("schema-text", {"json_schema": '{"const": {"a": [1]}}'}, ['{"a": [1]}'], ['{"a": [2]}']),
    ("schema-idle", {"json_schema": {"type": "array", "uniqueItems": False}}, ["[1,1]"], ["{}"]),
    ("schema-items", {"json_schema": {"prefixItems": [{"const": 1}], "items": False}}, ["[1]"], ["[2]", "[1,1]"]),
    ("schema-pattern", {"json_schema": {"type": "string", "pattern": "^a+$"}}, ['"aa"'], ['"ab"', '""']),
    ("schema-space", {"json_schema": {"type": "object"}}, ['{ "a":\n    1}'], [" {}", "{" + " " * 3 + "}", "{\n\n}"]),
    (
        "schema-object",
        {"json_schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
                         "additionalProperties": False, "title": "T", "x-order": 1}},
        ['{"a": "b"}'], ["{}", '{"a": "b", "c": 1}'],
    ),
    (
        "schema-refs",
        {"json_schema": {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}},
        ["[[],[[]]]"], ["[1]", "{}"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "good", "bad"), [row[1:] for row in LETS_THROUGH], ids=[r[0] for r in LETS_THROUGH]
)
def test_lets_through(options: dict[str, Any], good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not takes(text, **options)] == []
    assert [text for text in bad if takes(text, **options)] == []


REFUSES: list[tuple[dict[str, Any], str]] = [
    ({"json_schema": {"properties": {"a": {"not": {}}}}}, "keyword 'not' at /properties/a cannot be enforced"),
    ({"json_schema": {"type": "array", "uniqueItems": True}}, "'uniqueItems' cannot be enforced"),
    ({"json_schema": {"anyOf": [{"if": {}}]}}, "'if' at /anyOf/0"),
    ({"json_schema": {"requird": ["a"]}}, "unknown keyword 'requird'"),
    ({"json_schema": {"x-guidance": {"lenient": True}}}, "unknown keyword 'x-guidance'"),
    ({"json_schema": {"type": "string", "format": "color"}}, "format: color"),
    ({"json_schema": {"oneOf": [{}, {}]}}, "oneOf"),
    ({"json_schema": {"type": "strin"}}, "strin"),
    ({"json_schema": {"type": "string", "pattern": "(?=a)b"}}, "look-around"),
    ({"json_schema": {"$ref": "#/$defs/a"}}, "/$defs/a"),
    ({"json_schema": {"$ref": "https://a.example/schema.json"}}, "a.example"),
    ({"json_schema": "{"}, "is not JSON"),
    ({"json_schema": '{"minimum": NaN}'}, "NaN"),
    ({"json_schema": "[]"}, "is a list"),
    ({"json_schema": "false"}, "cannot be enforced"),
    ({"json_schema": {"enum": [{1, 2}]}}, "no JSON"),
    ({"regex": "(?<=a)b"}, "look-around"),
    ({"regex": r"(a)\1"}, "backreferences"),
    ({"regex": "("}, "unclosed group"),
    ({"lark": "start: b"}, '"b"'),
    ({"lark": "a: /x/"}, "start"),
    ({"grammar": "root ::= a"}, "uses 'a', which is not defined"),
    ({"grammar": 'start ::= "a"'}, "no rule named root"),
    ({"grammar": 'root ::= "a\n'}, "ends inside a literal"),
    ({"grammar": 'root ::= "\\q"'}, r"line 1, column 11: the escape '\\q'"),
    ({"grammar": 'root ::= "a"\nroot = "b"'}, "line 2, column 6: ::= is missing"),
    ({"grammar": 'root ::= ("a"'}, "closing bracket"),
    ({"grammar": "root ::= [b-a]"}, "range b-a"),
    ({"grammar": "root ::= []"}, "empty set"),
    ({"grammar": 'root ::= "a"{3,2}'}, "{3,2}"),
    ({"grammar": 'root ::= "a"{x}'}, "no repetition"),
    ({"grammar": 'root ::= "a" & "b"'}, "'&' is not expected"),
    ({"grammar": "root ::= <nothing>"}, "no token <nothing>"),
    ({"grammar": "root ::= " + "(" * 200}, "nest deeper"),
    ({"choice": ("a", "")}, "choice has the entry ''"),
    ({"choice": ("a",), "regex": "b"}, "regex and choice both"),
]


@pytest.mark.parametrize(("options", "words"), REFUSES, ids=[f"{next(iter(o))}-{w[:25]}" for o, w in REFUSES])
def test_says_what_cannot_be_enforced(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        opened(**options)


def test_grammar_names_tokens() -> None:
    tokenizer = plain()
    end = tokenizer.token_text(tokenizer.eos)
    constraint = opened(grammar=f"root ::= !<[300]> {end} <[301]>")
    assert 300 not in allowed(constraint) and 301 in allowed(constraint)
    constraint.accept(301)
    assert allowed(constraint) == {tokenizer.eos}
    constraint.accept(tokenizer.eos)
    assert allowed(constraint) == {301}


def test_no_option_is_no_constraint() -> None:
    assert answer_grammar(ConstraintOptions(), plain().find) is None


def test_tokens_that_are_no_text_are_never_allowed() -> None:
    constraint, tokenizer = opened(regex="(.|\n)*"), plain()
    found = allowed(constraint)
    assert found & set(tokenizer.control_ids()) == set(tokenizer.eog)
    assert max(found) < tokenizer.vocab_size
    for extra in (0, 1, ODD_WORDS):
        assert len(opened(extra, regex="a").mask()) == (tokenizer.vocab_size + extra + 31) // 32


def test_forbidden_token_is_an_error() -> None:
    constraint = opened(choice=("yes",))
    with pytest.raises(PacosError, match="breaks the constraint"):
        constraint.accept(plain().encode("no", add_special=False)[0])


NAMES = st.text('ab"\\ä\n', max_size=4)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-99, 99), st.floats(-1e6, 1e6).filter(lambda x: "e" not in repr(x)), NAMES
)
DOCUMENTS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@settings(max_examples=60)
@given(DOCUMENTS)
def test_any_document_fits_the_empty_schema(document: Any) -> None:
    assert takes(json.dumps(document, ensure_ascii=False), json_schema={})


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "kind": {"enum": ["cat", "dog", 3, None]},
        "sizes": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
        "on": {"type": "boolean"},
    },
    "required": ["name", "kind", "sizes", "on"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(12))
def test_blind_choice_still_makes_what_the_schema_says(seed: int) -> None:
    made = json.loads(babble(opened(json_schema=SCHEMA), plain(), seed))
    assert list(made) == ["name", "kind", "sizes", "on"]
    assert made["kind"] in {"cat", "dog", 3, None} and len(made["name"]) <= 12
    assert 1 <= len(made["sizes"]) <= 3 and isinstance(made["on"], bool)


REGULAR = st.recursive(
    st.sampled_from(["a", "b", "ab", "[ab]", "[^a]"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,2}", "{2}"])).map(lambda p: f"({p[0]}){p[1]}")
        | st.tuples(inner, inner).map(lambda p: f"({p[0]} {p[1]})")
        | st.tuples(inner, inner).map(lambda p: f"({p[0]} | {p[1]})")
    ),
    max_leaves=6,
)


def quoted(expression: str) -> str:
    """A regular expression of letters as GBNF writes it."""
    return re.sub(r"(?<![\[^])\b[ab]+\b(?!\])", lambda word: f'"{word[0]}"', expression)


@settings(max_examples=150)
@given(REGULAR, st.text("abc", max_size=5), st.booleans())
def test_gbnf_means_what_the_regular_expression_means(expression: str, text: str, recursive: bool) -> None:
    """With recursion somewhere each character is a lexeme, without it all is one; both mean the same."""
    grammar = f"root ::= {quoted(expression)}" + (' | "(" root ")"' if recursive else "")
    plain = expression.replace(" ", "")
    assert takes(text, grammar=grammar) == (re.fullmatch(plain, text) is not None)


@st.composite
def delimited(draw: st.DrawFn) -> tuple[str, str]:
    """A choice of texts between delimiters, as GBNF and as a regular expression."""
    grammars, plain = [], []
    for _ in range(draw(st.integers(1, 3))):
        begin, end = draw(st.sampled_from("xyz")), draw(st.sampled_from("xyz"))
        inner, star = draw(REGULAR), draw(st.sampled_from(["", "*"]))
        grammars.append(f'"{begin}" ({quoted(inner)}){star} "{end}"')
        plain.append(f"{begin}({inner.replace(' ', '')}){star}{end}")
    return " | ".join(grammars), "|".join(plain)


@settings(max_examples=300)
@given(delimited(), st.text("abxyz", max_size=6), st.integers(0, 2))
def test_lexemes_change_nothing(grammar: tuple[str, str], text: str, depth: int) -> None:
    made = f'root ::= {grammar[0]} | "(" root ")" '
    assert takes("(" * depth + text + ")" * depth, grammar=made) == (re.fullmatch(grammar[1], text) is not None)


def test_quoted_text_is_a_lexeme_and_clashing_ones_are_not() -> None:
    string = r'"\"" [^"]* "\""'
    assert re.search(r"^L0: ", gbnf_to_lark(f'root ::= {string} | "(" root ")"', plain().find), re.MULTILINE)
    for other in (r'"\""', r'"\"" [a] "b"', '[a-z"]'):
        lark = gbnf_to_lark(f'root ::= {string} | "(" root ")" | {other}', plain().find)
        assert not re.search(r"^L0: ", lark, re.MULTILINE)


def test_long_grammars_are_read_quickly() -> None:
    words = " | ".join(f'"{number:06}{"x" * 40}"' for number in range(400))
    started = time.process_time()
    gbnf_to_lark(f'root ::= ({words}) ("," root)? | "\\"" [a-z]* "\\""', plain().find)
    assert time.process_time() - started < 3
