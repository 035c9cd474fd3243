"""Incremental UTF-8 and stop strings give the same output however the stream is cut."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import SECONDS

from pacos.errors import UsageError
from pacos.text.stream import StopStrings, Utf8Stream


def cut(data: bytes | str, places: list[int]) -> list[bytes | str]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode()), st.lists(st.integers(0, 99)))
def test_utf8_in_pieces_equals_utf8_at_once(data: bytes, places: list[int]) -> None:
    stream = Utf8Stream()
    shown = ""
    fed = b""
    for piece in cut(data, places):
        shown += stream.feed(piece)
        fed += piece
        assert fed.decode(errors="replace").startswith(shown)
    assert shown + stream.flush() == data.decode(errors="replace")


def test_utf8_waits_for_a_character_and_not_longer() -> None:
    stream = Utf8Stream()
    assert [stream.feed(bytes([byte])) for byte in "é€😀a".encode()] == ["", "é", "", "", "€", "", "", "", "😀", "a"]
    assert stream.feed(b"\xe2\x82") == ""
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    assert stream.feed(b"ok\xff\xc3(") == "ok\ufffd\ufffd("


def run(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    watch = StopStrings(stops)
    shown = ""
    for piece in pieces:
        text, stopped = watch.feed(piece)
        shown += text
        assert stopped == (watch.stop is not None)
        if stopped:
            assert watch.feed("more") == ("", True)
            assert watch.flush() == ""
            return shown, watch.stop
    return shown + watch.flush(), None


def naive(stops: list[str], text: str) -> tuple[str, str | None]:
    for end in range(1, len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            stop = max(hits, key=len)
            return text[: end - len(stop)], stop
    return text, None


few_letters = st.text(alphabet="ab<é", min_size=1, max_size=5)


@given(st.lists(few_letters, max_size=5), st.text(alphabet="ab<é", max_size=40), st.lists(st.integers(0, 99)))
def test_stops_do_not_depend_on_the_pieces(stops: list[str], text: str, places: list[int]) -> None:
    expected = naive(stops, text)
    assert run(stops, [text]) == expected
    assert run(stops, list(text)) == expected
    assert run(stops, cut(text, places)) == expected


@given(st.lists(few_letters, min_size=1, max_size=5), st.text(alphabet="ab<é", max_size=40))
def test_stops_hold_back_only_what_may_become_a_stop(stops: list[str], text: str) -> None:
    watch = StopStrings(stops)
    shown = fed = ""
    for char in text:
        more, stopped = watch.feed(char)
        if stopped:
            return
        shown += more
        fed += char
        held = fed[len(shown) :]
        prefixes = {stop[:size] for stop in stops for size in range(len(stop))}
        assert held == max((prefix for prefix in prefixes if fed.endswith(prefix)), key=len)


def test_stop_strings_by_example() -> None:
    assert run(["</s>", "User:"], ["Hi ", "there<", "/", "s>", "x"]) == ("Hi there", "</s>")
    assert run(["User:"], ["Hi Us", "er"]) == ("Hi User", None)
    assert run([], ["abc"]) == ("abc", None)
    assert run(["ab", "b"], ["xab"]) == ("x", "ab")
    assert StopStrings(["User:"]).feed("ok Use") == ("ok ", False)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        StopStrings(["a", ""])


def test_many_stops_and_much_text_take_linear_time() -> None:
    stops = ["a" * 400 + str(i) for i in range(200)]
    start = time.process_time()
    text, stop = run(stops, ["a" * 50] * 4000)
    assert (len(text), stop) == (200_000, None)
    assert time.process_time() - start < SECONDS  # looking for each at each place takes hours
