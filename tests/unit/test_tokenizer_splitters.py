"""Words before merging: every family against the library's regular expressions, and in linear time."""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_time import assert_linear
from tokenizers import pre_tokenizers
from vocabularies import POOLS, byte_level, oracle_splits, sentencepiece, texts

import pacos.text
from pacos.errors import NativeError
from pacos.text.native_vocabulary import NativeVocabulary, PackedStrings
from pacos.text.splitters import SPLITTERS, find_splitter
from pacos.text.tokenizer import Tokenizer

EXPRESSIONS = {row.names[0]: row.expressions for row in SPLITTERS if row.byte_level}
FROM_RIGHT = [name for name, rows in EXPRESSIONS.items() if any(row.startswith("(?r)") for row in rows)]
# The library's \p{Han} is the script, ours the blocks that models were converted with.
POOLS_WITHOUT_HAN_SIGNS = tuple(pool.replace("々〇", "") for pool in POOLS)


def words(expressions: tuple[str, ...], text: str) -> list[str]:
    """The words that these expressions cut."""
    vocabulary = NativeVocabulary(PackedStrings("tokens", ["a", "b"]))
    vocabulary.use_bpe(PackedStrings("merges", []), 1, expressions)
    return cut(vocabulary, text)


def cut(vocabulary: NativeVocabulary, text: str) -> list[str]:
    data = text.encode()
    ends = [0, *vocabulary.split(data)]
    return [data[a:b].decode() for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("name", [name for name in EXPRESSIONS if name not in FROM_RIGHT])
def test_words_agree_with_the_oracle(name: str) -> None:
    vocabulary = NativeVocabulary(PackedStrings("tokens", ["a", "b"]))
    vocabulary.use_bpe(PackedStrings("merges", []), 1, EXPRESSIONS[name])
    oracle = pre_tokenizers.Sequence(oracle_splits(name))
    for text in texts(250, seed=7, pools=POOLS_WITHOUT_HAN_SIGNS):
        expected = [word for word, _ in oracle.pre_tokenize_str(text)]
        assert cut(vocabulary, text) == expected, ascii(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1234567", ["1", "234", "567"]),
        ("123456", ["123", "456"]),
        ("a1b22c333d4444", ["a", "1", "b", "22", "c", "333", "d", "4", "444"]),
        ("", []),
    ],
)
def test_digits_are_grouped_from_the_right(text: str, expected: list[str]) -> None:
    assert words((r"(?r)\p{N}{1,3}",), text) == expected
    assert words((r"\p{N}+", r"(?r)[0-9]{1,3}"), text) == expected


@pytest.mark.parametrize("name", FROM_RIGHT)
def test_families_that_group_from_the_right(name: str) -> None:
    rest = [row for row in EXPRESSIONS[name] if not row.startswith("(?r)")]
    for text in texts(100, seed=8, pools=POOLS_WITHOUT_HAN_SIGNS):
        found = words(EXPRESSIONS[name], text)
        assert "".join(found) == text
        digits = [word for word in found if re.fullmatch("[0-9]+", word)]
        assert all(len(word) <= 3 for word in digits)
    assert "1" in words(EXPRESSIONS[name], "x 1234567 y")
    assert rest


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        ("ab|a", "aab", ["a", "ab"]),
        ("a|ab", "ab", ["a", "b"]),
        ("a{2,3}", "aaaaaaa", ["aaa", "aaa", "a"]),
        ("(ab){2}c?", "ababcabab", ["ababc", "abab"]),
        ("(?i:don)'t", "DoN't don't", ["DoN't", " ", "don't"]),
        (r"\s+(?!\S)|\s+", "a   b  ", ["a", "  ", " ", "b", "  "]),
        (r"a(?=[0-9])", "aa1a", ["a", "a", "1a"]),
        (r"\s+$", "  a  ", ["  a", "  "]),
        ("[^a-c]+", "xyabz", ["xy", "ab", "z"]),
        (r"[\p{L}&&[^a-z]]+", "abÀBcé", ["ab", "ÀB", "c", "é"]),
        (r"[a\-\]]+", "a-]b", ["a-]", "b"]),
        ("[-a]+", "-a-b", ["-a-", "b"]),
        ("世界|世", "世世界", ["世", "世界"]),
    ],
)
def test_the_dialect(expression: str, text: str, expected: list[str]) -> None:
    assert words((expression,), text) == expected


@pytest.mark.parametrize(
    "expression",
    [
        *("(a", "a)", "a**", "a{3,2}", "a{0}", "a{9999}", "a.b", "^a", "[a", "[z-a]", "(?=ab)", "(?<a>b)"),
        *(r"\q", r"\p{Xx}", "(" * 50 + "a" + ")" * 50, "((a{100}){100}){100}"),
    ],
)
def test_what_is_beyond_the_dialect_is_refused(expression: str) -> None:
    with pytest.raises(NativeError, match="splitter expression"):
        words((expression,), "text")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50))
def test_words_are_the_text(text: str) -> None:
    for name in ("llama3", "deepseek-llm", "afmoe", "chameleon"):
        found = words(EXPRESSIONS[name], text)
        assert "".join(found) == text
        assert all(found)


RUNS = ["A", "\n", " ", "1", ".", "漢", "us", "\t \r\n", "\u0300", "'s", "1, "]


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_words_in_linear_time(name: str) -> None:
    vocabulary = NativeVocabulary(PackedStrings("tokens", ["a", "b"]))
    vocabulary.use_bpe(PackedStrings("merges", []), 1, EXPRESSIONS[name])
    for run in RUNS:
        assert_linear(vocabulary.split, run, 30_000)


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "deepseek-llm", "sentencepiece"])
def test_merging_in_linear_time(name: str) -> None:
    metadata = sentencepiece()[0] if name == "sentencepiece" else byte_level(name)[0]
    ours = Tokenizer.from_metadata(metadata)
    for run in ("a", "fox", "漢", " ", "\n"):
        assert_linear(lambda data: ours.encode(data, add_special=False), run, 40_000)


@pytest.mark.parametrize("run", ["A", "\n", " ", "1", ".", "漢"])
def test_a_megabyte_of_one_character(run: str) -> None:
    text = run * (1_000_000 // len(run.encode()))
    for ours in (Tokenizer.from_metadata(byte_level("llama-bpe")[0]), Tokenizer.from_metadata(sentencepiece()[0])):
        assert ours.decode(ours.encode(text)) == text


def members(name: str, text: str) -> set[str]:
    """The characters of the class: runs of it and of all else take turns. The text begins with NUL, which is Cc."""
    runs = words((rf"\p{{{name}}}+",), text)
    return set("".join(runs[0 if name == "C" else 1 :: 2]))


def test_categories_are_those_of_unicode() -> None:
    """Python's own database is older or newer than the table; what both know must agree."""
    head = (Path(pacos.text.__file__).parent / "unicode_data.inc").read_text(encoding="ascii").splitlines()[0]
    assert head.startswith("// Unicode 15.1.0.")
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    unassigned = members("Cn", every)
    text = "".join(c for c in every if c not in unassigned and unicodedata.category(c) != "Cn")
    assert len(text) > 280_000
    categories = {c: unicodedata.category(c)[0] for c in text}
    for major in "LMNPSZC":
        theirs = {c for c, category in categories.items() if category == major}
        changed = members(major, text) ^ theirs  # few characters ever change their category
        assert len(changed) < 20, (major, sorted(map(ascii, changed))[:9])
    assert words((r"\s+",), "a\x0b\x85\u3000\u200bb") == ["a", "\x0b\x85\u3000", "\u200bb"]


def test_families_share_no_name() -> None:
    names = [name for row in SPLITTERS for name in row.names]
    assert len(names) == len(set(names)) == 91
    assert find_splitter("llama3") is find_splitter("pixtral")
