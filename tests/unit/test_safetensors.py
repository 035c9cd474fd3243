"""safetensors files and folders: read as the reference does, refused where it refuses."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_builder import check_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors_builder import DATA, SOUND, build, entry

from pacos.errors import FormatError, ModelError, UnsupportedModel
from pacos.formats import open_archive, safetensors
from pacos.formats.safetensors import DTYPE_BITS, SafetensorsArchive, read_safetensors


def refused(folder: Path, content: bytes, kind: type[ModelError] = FormatError) -> str:
    """The message of the error that opening the file must give."""
    path = folder / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        read_safetensors(path)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "bad.safetensors" in message
    check_message(caught.value)
    return message


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(build(SOUND, DATA))
    with read_safetensors(path) as archive:
        assert archive.metadata == {"format": "pt"}
        assert {name: (t.shape, t.type, t.nbytes) for name, t in archive.tensors.items()} == {
            "a": ((2, 3), "F32", 24),
            "b": ((4,), "BF16", 8),
        }
        assert bytes(archive.data("b")) == DATA[24:]
        assert ctypes.string_at(archive.address("b"), 8) == DATA[24:]
        assert archive.warnings == []
    assert isinstance(open_archive(path), SafetensorsArchive)


def test_files_of_the_reference_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    kinds = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1"}
    kinds |= {"U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"}
    weights = {name: np.arange(6).reshape(3, 2).astype(kind) for name, kind in kinds.items()}
    weights |= {"scalar": np.array(1.5, "f4"), "empty": np.zeros((0, 4), "f4")}
    save_file(weights, path, metadata={"k": "v"})
    with read_safetensors(path) as archive, safe_open(path, "np") as theirs:
        assert set(archive.tensors) == set(theirs.keys()) == set(weights)
        assert archive.metadata == {"k": "v"}
        for name, weight in weights.items():
            assert archive.tensors[name].shape == weight.shape
            assert bytes(archive.data(name)) == weight.tobytes()
            if name in kinds:
                assert archive.tensors[name].type == name
        flagged = [
            name for name in kinds if any(f"tensors are {name}, which is listed only" in w for w in archive.warnings)
        ]
        assert set(flagged) == set(kinds) - {"F32", "F16"}


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_dtype_has_its_size(tmp_path: Path, dtype: str) -> None:
    nbytes = DTYPE_BITS[dtype]
    path = tmp_path / "m.safetensors"
    path.write_bytes(build({"t": entry(dtype, [8], 0, nbytes)}, bytes(nbytes)))
    with read_safetensors(path) as archive:
        assert archive.tensors["t"].nbytes == nbytes
    assert "needs" in refused(tmp_path, build({"t": entry(dtype, [8], 0, nbytes + 1)}, bytes(nbytes + 1)))


def test_parts_of_bytes_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, build({"t": entry("F4", [3], 0, 1)}, bytes(1)))
    refused(tmp_path, build({"t": entry("F6_E2M3", [1], 0, 1)}, bytes(1)))


def test_files_too_short(tmp_path: Path) -> None:
    for length in range(10):
        refused(tmp_path, build(SOUND, DATA)[:length])
    (tmp_path / "least.safetensors").write_bytes(build(b"{}"))
    with read_safetensors(tmp_path / "least.safetensors") as archive:
        assert archive.tensors == {}


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = build(SOUND, DATA)
    for length in range(len(content)):
        refused(tmp_path, content[:length])
    message = refused(tmp_path, content[:-5])
    assert f"download incomplete? expected {len(content)} bytes, the file has {len(content) - 5}" in message


@pytest.mark.parametrize("length", [0, 1, 2**64 - 1, 2**63, 100_000_001, 10**8, 400])
def test_header_lengths_that_lie(tmp_path: Path, length: int) -> None:
    refused(tmp_path, build(SOUND, DATA, length))


def test_the_limit_of_the_header_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MAX_HEADER_BYTES", 50)
    path = tmp_path / "m.safetensors"
    path.write_bytes(build(b"{}" + b" " * 48))
    read_safetensors(path).close()
    assert "a header of 51 bytes, at most 50" in refused(tmp_path, build(b"{}" + b" " * 49))


@pytest.mark.parametrize(("name", "limit"), [("MAX_TENSORS", 3), ("MAX_DIMENSIONS", 3)])
def test_other_limits_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    def content(n: int) -> bytes:
        if name == "MAX_TENSORS":
            return build({f"t{i}": entry("U8", [1], i, i + 1) for i in range(n)}, bytes(n))
        return build({"t": entry("U8", [1] * n, 0, 1)}, bytes(1))

    monkeypatch.setattr(safetensors, name, limit)
    (tmp_path / "m.safetensors").write_bytes(content(limit))
    read_safetensors(tmp_path / "m.safetensors").close()
    refused(tmp_path, content(limit + 1))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b" {}", "not a safetensors file"),
        (b"[{}]", "not a safetensors file"),
        (b"\xef\xbb\xbf{}", "not a safetensors file"),
        ('{"a": 1}'.encode("utf-16-be"), "not a safetensors file"),
        (b'{"\xff": 1}', "not UTF-8 at byte 2"),
        (b'{"a": ', "not valid JSON"),
        (b"{}\0\0", "not valid JSON"),
        (b"{}{}", "not valid JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": {"b": 1, "b": 2}}', "the key b appears twice"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        ({"__metadata__": {"k": 1}}, "__metadata__ holds more than strings"),
        ({"__metadata__": []}, "__metadata__ holds more than strings"),
        ({"a": 1}, "tensor a: needed are dtype, shape and data_offsets"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "tensor a: needed are"),
        ({"a": {**entry("F32", [1], 0, 4), "more": 1}}, "tensor a: needed are"),
        ({"": entry("F32", [1], 0, 4)}, "cannot be printed"),
        ({"a\x1b[31m": entry("F32", [1], 0, 4)}, r"tensor a\\x1b\[31m: this name cannot be printed"),
    ],
)
def test_headers_that_are_damaged(tmp_path: Path, header: Any, words: str) -> None:
    assert re.search(words, refused(tmp_path, build(header, bytes(64))))


def test_the_header_may_end_in_spaces(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(build(json.dumps(SOUND).encode() + b" " * 7, DATA))
    read_safetensors(tmp_path / "m.safetensors").close()


def test_duplicate_tensors_in_one_file(tmp_path: Path) -> None:
    one = json.dumps(entry("U8", [1], 0, 1))
    assert "the key a appears twice" in refused(tmp_path, build(f'{{"a": {one}, "a": {one}}}'.encode(), bytes(1)))


@pytest.mark.parametrize(
    "offsets",
    [[-4, 0], [0.0, 4.0], [4, 0], [0, "4"], [0], [0, 4, 8], None, [True, 5], [2**63, 2**63 + 4], [0, 10**400]],
)
def test_offsets_that_are_none(tmp_path: Path, offsets: Any) -> None:
    message = refused(tmp_path, build({"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}, bytes(8)))
    assert "tensor a" in message


@pytest.mark.parametrize(
    "shape", [[-1], [1.0], None, "1", [True], {}, [[1]], [2**63], [2], [0], [2**62, 2**62], [1] * 10**5]
)
def test_shapes_that_are_none(tmp_path: Path, shape: Any) -> None:
    assert "tensor a" in refused(
        tmp_path, build({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}, bytes(4))
    )


@pytest.mark.parametrize("dtype", ["F128", "f32", "", None, 1, ["F32"]])
def test_dtypes_that_are_unknown(tmp_path: Path, dtype: Any) -> None:
    content = build({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    assert "tensor a has the unknown dtype" in refused(tmp_path, content, UnsupportedModel)


@pytest.mark.parametrize(
    ("entries", "data", "words"),
    [
        ([(0, 4), (2, 6)], 6, "tensor t1 overlaps the tensor before"),
        ([(0, 4), (0, 4)], 4, "tensor t1 overlaps the tensor before"),
        ([(0, 4), (5, 9)], 9, "tensor t1 leaves a hole"),
        ([(1, 5)], 5, "tensor t0 leaves a hole"),
        ([(0, 4), (4, 9)], 8, "the file ends before its tensors do"),
        ([(0, 4)], 5, "1 bytes behind the last tensor belong to nothing"),
    ],
)
def test_layouts_that_are_refused(tmp_path: Path, entries: list[tuple[int, int]], data: int, words: str) -> None:
    header = {f"t{i}": entry("U8", [end - start], start, end) for i, (start, end) in enumerate(entries)}
    assert words in refused(tmp_path, build(header, bytes(data)))


def test_tensors_may_be_in_any_order(tmp_path: Path) -> None:
    header = {"b": entry("U8", [2], 1, 3), "none": entry("U8", [0], 1, 1), "a": entry("U8", [1], 0, 1)}
    (tmp_path / "m.safetensors").write_bytes(build(header, b"abc"))
    with read_safetensors(tmp_path / "m.safetensors") as archive:
        assert [bytes(archive.data(name)) for name in ("a", "b", "none")] == [b"a", b"bc", b""]


@pytest.mark.parametrize(
    "content", [b"PK\3\4" + bytes(60), b"\x80\x02}" + bytes(60), b"GGUF" + bytes(60), b"<html>" + bytes(60)]
)
def test_other_files_are_recognised(tmp_path: Path, content: bytes) -> None:
    assert "not a safetensors file, but " in refused(tmp_path, content)


# ---- fuzzing


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    content = bytearray(build(SOUND, DATA))
    for at, byte in flips:
        content[at % len(content)] = byte
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    try:
        with read_safetensors(path) as archive:
            assert all(len(archive.data(name)) == found.nbytes for name, found in archive.tensors.items())
    except (FormatError, UnsupportedModel) as error:
        check_message(error)


NUMBERS = st.integers(-2, 40) | st.sampled_from([2**31, 2**63, 2**64, 1.0, None, True, "1", []])
ENTRIES = st.builds(entry, st.sampled_from([*DTYPE_BITS, "X"]), st.lists(NUMBERS, max_size=4), NUMBERS, NUMBERS)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=3), ENTRIES | NUMBERS, max_size=4), st.binary(max_size=40))
def test_sound_framing_with_hostile_values(tmp_path: Path, header: dict[str, Any], data: bytes) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(build(header, data))
    try:
        with read_safetensors(path) as archive:
            assert sum(found.nbytes for found in archive.tensors.values()) == len(data)
    except (FormatError, UnsupportedModel) as error:
        check_message(error)
