"""String arrays that stay in the file, and the two walks that prove them."""

from __future__ import annotations

import ctypes
import struct
from array import array

import pytest
from gguf_builder import text

from pacos.formats import string_array
from pacos.formats.string_array import StringArray, string_starts, strings_end, strings_end_python


def _raw(strings: list[bytes]) -> memoryview:
    return memoryview(b"".join(text(string) for string in strings))


@pytest.mark.parametrize("count", [0, 1, 3, 600])
def test_native_and_python_walks_agree(count: int) -> None:
    region = _raw([b"x" * (i * 7 % 23) for i in range(count)])
    longer = memoryview(bytes(region) + b"behind")
    assert strings_end(longer, count, 100) == strings_end_python(longer, count, 100) == len(region)
    starts = array("Q")
    strings_end_python(region, count, 100, starts)
    assert string_starts(region, count) == starts
    for cut in range(max(0, len(region) - 40), len(region)):
        assert strings_end(region[:cut], count, 100) == strings_end_python(region[:cut], count, 100) < 0


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**63 - 1, 2**64 - 8, 101, 1 << 40])
@pytest.mark.parametrize("at", [0, 299, 599])
def test_a_hostile_length_stops_both_walks_at_its_string(length: int, at: int) -> None:
    strings = [text(b"abc")] * 600
    strings[at] = struct.pack("<Q", length) + b"abc"
    region = memoryview(b"".join(strings))
    assert strings_end(region, 600, 100) == strings_end_python(region, 600, 100) == -1 - at


def test_the_longest_string_allowed_passes_and_one_more_does_not() -> None:
    region = _raw([b"a" * 100] * 600)
    assert strings_end(region, 600, 100) == strings_end_python(region, 600, 100) == len(region)
    assert strings_end(region, 600, 99) == strings_end_python(region, 600, 99) == -1


def test_without_the_library_the_walk_is_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_array, "_native_strings_end", lambda: None)
    region = _raw([b"ab"] * 1000)
    assert strings_end(region, 1000, 10) == len(region)
    assert StringArray(region, 1000)[999] == "ab"


def test_a_string_array_is_a_sequence() -> None:
    strings = [f"token {i}" for i in range(1000)]
    found = StringArray(_raw([string.encode() for string in strings]), 1000)
    assert found == strings
    assert found != strings[:-1]
    assert found == StringArray(_raw([string.encode() for string in strings]), 1000)
    assert list(found) == strings
    assert found[0] == "token 0"
    assert found[-1] == "token 999"
    assert found[10:30:7] == strings[10:30:7]
    assert "token 500" in found
    assert found.index("token 7") == 7
    assert ctypes.string_at(found.address, found.nbytes) == bytes(found.raw)
    assert repr(found) == f"StringArray(1000 strings, {found.nbytes} bytes)"
    for index in (1000, -1001):
        with pytest.raises(IndexError):
            found[index]
