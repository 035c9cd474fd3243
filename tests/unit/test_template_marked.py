"""Marked strings compute what `str` computes, and each mark stays with its character.

Markup is written in capitals here and data in small letters, so the marks of a result can be read off its text.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pacos.text import marked
from pacos.text.marked import Marked


def mixed(text: str) -> Marked:
    """Mark the capitals; blanks and punctuation are data."""
    return Marked(text, bytes(char.isupper() for char in text))


def true_to_marks(value: Any) -> bool:
    """Check that exactly the capitals of a result are marked."""
    if isinstance(value, (list, tuple)):
        return all(true_to_marks(item) for item in value)
    return marked.marks_of(value) == bytes(char.isupper() for char in value)


texts = st.text(alphabet="ABab  \n.", max_size=20)
short = st.text(alphabet="ABab .", min_size=1, max_size=2)
bounds = st.none() | st.integers(-25, 25)


@given(texts, texts, short)
def test_strip_split_join_replace(text: str, other: str, part: str) -> None:
    one, two = mixed(text), mixed(other)
    results = [
        (marked.strip(one), text.strip()),
        (marked.strip(one, part), text.strip(part)),
        (marked.lstrip(one, part), text.lstrip(part)),
        (marked.rstrip(one), text.rstrip()),
        (marked.split(one), text.split()),
        (marked.split(one, None, 1), text.split(None, 1)),
        (marked.split(one, part), text.split(part)),
        (marked.split(one, part, 1), text.split(part, 1)),
        (marked.split(one, None, 1, right=True), text.rsplit(None, 1)),
        (marked.split(one, part, 1, right=True), text.rsplit(part, 1)),
        (marked.splitlines(one), text.splitlines()),
        (marked.splitlines(one, True), text.splitlines(True)),
        (marked.join([one, two, one], mixed(part)), part.join([text, other, text])),
        (marked.join([one, "plain", two]), text + "plain" + other),
        (marked.replace(one, part, two), text.replace(part, other)),
        (marked.replace(one, part, two, 1), text.replace(part, other, 1)),
        (marked.replace(one, "", mixed(part)), text.replace("", part)),
        (marked.replace(one, "", mixed(part), 3), text.replace("", part, 3)),
        (marked.replace(one, part, two, 0), text),
        (marked.repeat(one, 3), text * 3),
        (marked.repeat(one, -1), ""),
    ]
    for got, expected in results:
        assert got == expected
        assert true_to_marks(got)


@given(texts, bounds, bounds, bounds.filter(lambda step: step != 0))
def test_slices_and_characters(text: str, start: int | None, stop: int | None, step: int | None) -> None:
    one = mixed(text)
    where = slice(start, stop, step)
    assert marked.cut(one, where) == text[where]
    assert true_to_marks(marked.cut(one, where))
    assert true_to_marks([marked.char(one, index) for index in range(-len(text), len(text))])
    assert list(one) == list(text)
    assert true_to_marks(list(one))


@given(st.text(max_size=12), st.booleans())
def test_case_keeps_marks_where_characters_correspond(text: str, whole: bool) -> None:
    one = marked.markup(text) if whole else Marked(text, bytes(i % 2 for i in range(len(text))))
    for method in ("upper", "lower", "title", "capitalize", "swapcase", "casefold"):
        expected = getattr(text, method)()
        got = marked.recase(one, expected)
        assert got == expected
        if whole:
            assert marked.marks_of(got) == b"\1" * len(expected)
        elif len(expected) == len(text):
            assert marked.marks_of(got) == one.marks
        else:
            assert marked.marks_of(got) == bytes(len(expected))


@given(st.lists(texts, max_size=6))
def test_runs_are_maximal_and_complete(parts: list[str]) -> None:
    runs = marked.runs(mixed(part) for part in parts)
    assert "".join(text for text, _ in runs) == "".join(parts)
    assert all(text and type(text) is str for text, _ in runs)
    assert all(one[1] != two[1] for one, two in pairwise(runs))
    assert all(char.isupper() == is_markup for text, is_markup in runs for char in text)


@given(texts)
def test_a_marked_string_is_a_string(text: str) -> None:
    one = mixed(text)
    assert one == text
    assert hash(one) == hash(text)
    assert {one: 1}[text] == 1
    assert str(one) is one
    assert type(one + "") is str  # operations that do not know of marks give data
    assert type(f"{one}x") is str
