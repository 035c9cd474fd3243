"""Writing GGUF: both readers read it back, any size streams, and no fault leaves half a file."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacos.errors import PacosError, ShapeError, UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_types import (
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    MAX_KEY_BYTES,
    MAX_TENSOR_NAME_BYTES,
    STRING,
    TENSOR_TYPES,
    U8,
    U16,
    U32,
    U64,
    TypedValue,
)
from pacos.formats.gguf_write import TensorData, tensor_bytes, write_gguf

EVERY_TYPE: dict[str, TypedValue] = {
    "u8": U8(255),
    "i8": I8(-128),
    "u16": U16(65_535),
    "i16": I16(-32_768),
    "u32": U32(2**32 - 1),
    "i32": I32(-(2**31)),
    "u64": U64(2**64 - 1),
    "i64": I64(-(2**63)),
    "f32": F32(0.5),
    "f64": F64(0.1),
    "yes": BOOL(True),
    "no": BOOL(False),
    "text": STRING("Größe 日本 🐉"),
    "empty": STRING(""),
    "u8s": U8([0, 255]),
    "i8s": I8([-128, 127]),
    "u16s": U16([0, 65_535]),
    "i16s": I16([-32_768, 32_767]),
    "u32s": U32([0, 2**32 - 1]),
    "i32s": I32([-(2**31), 2**31 - 1]),
    "u64s": U64([0, 2**64 - 1]),
    "i64s": I64([-(2**63), 2**63 - 1]),
    "f32s": F32([0.5, -1.25]),
    "f64s": F64([0.1, -2.5]),
    "bools": BOOL([True, False]),
    "texts": STRING(["a", "", "日本"]),
    "none": I32([]),
    "no texts": STRING([]),
}
KINDS = {"F": "FLOAT", "U": "UINT", "I": "INT"}


def their_type(name: str) -> str:
    """The gguf package's name of a value type."""
    return name if name in ("BOOL", "STRING") else KINDS[name[0]] + name[1:]


def plain(value: Any) -> Any:
    """Arrays as lists."""
    return value if np.isscalar(value) else list(value)


def test_every_value_type_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    size = write_gguf(path, EVERY_TYPE)
    assert size == path.stat().st_size
    with read_gguf(path) as archive:
        assert {key: plain(value) for key, value in archive.metadata.items()} == {
            k: v.value for k, v in EVERY_TYPE.items()
        }
        assert archive.value_types == {key: value.type for key, value in EVERY_TYPE.items()}


def test_the_gguf_package_reads_every_value_type(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write_gguf(path, EVERY_TYPE)
    fields = gguf.GGUFReader(path).fields
    for key, value in EVERY_TYPE.items():
        types = [kind.name for kind in fields[key].types]
        if not isinstance(value.value, list):
            assert types == [their_type(value.type)]
            assert fields[key].contents() == value.value
        elif value.value:
            assert types == ["ARRAY", their_type(value.type)]
            assert fields[key].contents() == value.value
        else:
            assert types == ["ARRAY"]


def test_files_of_the_gguf_package_are_read(tmp_path: Path) -> None:
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in EVERY_TYPE.items():
        if not isinstance(value.value, list):
            writer.add_key_value(key, value.value, gguf.GGUFValueType[their_type(value.type)])
        elif value.value:
            writer.add_key_value(key, value.value, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType[their_type(value.type)])
    weights = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(5, dtype=np.float16),
        "c": np.array([7], np.int8),
    }
    for name, weight in weights.items():
        writer.add_tensor(name, weight)
    blocks = np.arange(2 * 34, dtype=np.uint8).reshape(2, 34)
    writer.add_tensor("q", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with read_gguf(path) as archive:
        for key, value in EVERY_TYPE.items():
            if value.value != []:
                assert plain(archive.metadata[key]) == value.value
                assert archive.value_types[key] == value.type
        for name, weight in weights.items():
            assert archive.tensors[name].shape == weight.shape
            assert bytes(archive.data(name)) == weight.tobytes()
        assert [archive.tensors[name].type for name in "abcq"] == ["F32", "F16", "I8", "Q8_0"]
        assert archive.tensors["q"].shape == (2, 32)
        assert bytes(archive.data("q")) == blocks.tobytes()


@pytest.mark.parametrize("alignment", [None, 1, 64, 4096])
def test_the_gguf_package_reads_every_tensor_type(tmp_path: Path, alignment: int | None) -> None:
    path = tmp_path / "a.gguf"
    known = {int(kind) for kind in gguf.GGMLQuantizationType} - {9}  # their size of Q8_1 is out of date
    tensors, data = [], {}
    for number in sorted(known):
        kind = TENSOR_TYPES[number]
        data[kind.name] = os.urandom(3 * 2 * kind.block_bytes)
        tensors.append(TensorData(kind.name, (3, 2 * kind.block), kind.name, data[kind.name]))
    metadata = {} if alignment is None else {"general.alignment": alignment}
    write_gguf(path, {"general.architecture": "llama", **metadata}, tensors)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with read_gguf(path) as archive:
        assert archive.warnings == []
        for name, raw in data.items():
            assert found[name].tensor_type.name == name
            assert found[name].data.tobytes() == raw
            assert found[name].shape.tolist() == list(reversed(archive.tensors[name].shape))
            assert bytes(archive.data(name)) == raw
            assert archive.tensors[name].offset % (alignment or 32) == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "U32"),
        (2**32 - 1, "U32"),
        (2**32, "I64"),
        (-1, "I32"),
        (-(2**31) - 1, "I64"),
        (2**63, "U64"),
        (1.5, "F32"),
        (True, "BOOL"),
        ("x", "STRING"),
        (b"\xff", "STRING"),
        ([1, 2], "I32"),
        ([2**31], "U32"),
        ([2**32], "I64"),
        ([-1, 2**32], "I64"),
        ([2**63], "U64"),
        ((1.5, 2), "F32"),
        ([True], "BOOL"),
        (["x", b"y"], "STRING"),
        (range(3), "I32"),
        (array("f", [1.5]), "F32"),
        (array("d", [1.5]), "F64"),
        (array("h", [-1]), "I16"),
        (array("B", [1]), "U8"),
        (array("Q", [1]), "U64"),
        (np.array([1, 2], np.int64), "I32"),
        (np.float32(1.5), "F32"),
    ],
)
def test_plain_values_get_the_usual_type(tmp_path: Path, value: Any, kind: str) -> None:
    path = tmp_path / "a.gguf"
    write_gguf(path, {"k": value})
    with read_gguf(path) as archive:
        assert archive.value_types["k"] == kind
        if isinstance(value, bytes):
            assert archive.metadata["k"] == "\udcff"
        elif kind != "STRING":
            assert plain(archive.metadata["k"]) == plain(value)


@pytest.mark.parametrize(
    "value",
    [
        *[U8(256), U8(-1), I8(128), U32(2**32), U32(1.0), U32("1"), F32("x"), F32(1e39), BOOL(1), BOOL([1]), STRING(1)],
        *[
            2**64,
            -(2**63) - 1,
            None,
            {},
            [],
            [[1]],
            [1, "a"],
            [None],
            "\ud800",
            STRING([1]),
            U8([256]),
            F32([1e39]),
            object(),
        ],
    ],
    ids=lambda value: type(value).__name__ if type(value) is object else repr(value),  # the same in every process
)
def test_values_that_fit_no_type_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match=r"key some.key"):
        write_gguf(tmp_path / "a.gguf", {"some.key": value})
    assert list(tmp_path.iterdir()) == []


def test_names_that_the_reader_would_refuse_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    for key in ("", "a\n", "a\0", "k" * (MAX_KEY_BYTES + 1), "\ud800"):
        with pytest.raises(UsageError, match="the key"):
            write_gguf(path, {key: 1})
    for name in ("", "a\n", "../x", "t" * (MAX_TENSOR_NAME_BYTES + 1), "ä" * 33):
        with pytest.raises(UsageError, match="the tensor name"):
            write_gguf(path, {}, [(name, (1,), "I8", b"1")])
    with pytest.raises(UsageError, match="two tensors are named t"):
        write_gguf(path, {}, [("t", (1,), "I8", b"1")] * 2)
    for alignment in (0, 3, 2**21, U64(32), "32", [32]):
        with pytest.raises(UsageError, match=r"general\.alignment is"):
            write_gguf(path, {"general.alignment": alignment})
    assert list(tmp_path.iterdir()) == []
    write_gguf(path, {"k" * MAX_KEY_BYTES: 1}, [("t" * MAX_TENSOR_NAME_BYTES, (1,), "I8", b"1")])
    read_gguf(path).close()


@pytest.mark.parametrize(
    ("shape", "kind", "error"),
    [
        *[
            ((), "F32", ShapeError),
            ((1,) * 5, "F32", ShapeError),
            ((-1,), "F32", ShapeError),
            ((2**63,), "I8", ShapeError),
        ],
        *[
            ((31,), "Q8_0", ShapeError),
            ((32, 2), "Q4_K", ShapeError),
            ((1,), "Q9", UsageError),
            ((1,), "f32", UsageError),
        ],
    ],
)
def test_shapes_and_types_that_cannot_be(shape: tuple[int, ...], kind: str, error: type[PacosError]) -> None:
    with pytest.raises(error, match="tensor t: "):
        tensor_bytes("t", shape, kind)


def test_data_may_come_in_any_form(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    weights = np.arange(8, dtype=np.float32).reshape(2, 4)
    forms: list[Any] = [
        weights,
        weights.tobytes(),
        bytearray(weights.tobytes()),
        memoryview(weights),
        array("f", range(8)),
        [weights[:1], weights[1:]],
        iter([weights.tobytes()[:3], b"", weights.tobytes()[3:]]),
        lambda: weights,
        lambda: (row for row in weights),
    ]
    write_gguf(path, {}, [(f"t{i}", (2, 4), "F32", form) for i, form in enumerate(forms)])
    with read_gguf(path) as archive:
        assert len(archive.tensors) == len(forms)
        for i in range(len(forms)):
            assert bytes(archive.data(f"t{i}")) == weights.tobytes()


def test_empty_tensors_and_large_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacos.formats.gguf_write._WRITE_BYTES", 7)
    path = tmp_path / "a.gguf"
    write_gguf(path, {}, [("e", (0, 4), "F32", np.zeros((0, 4), np.float32)), ("t", (100,), "I8", bytes(range(100)))])
    with read_gguf(path) as archive:
        assert bytes(archive.data("e")) == b""
        assert bytes(archive.data("t")) == bytes(range(100))


def test_tensors_are_fetched_one_at_a_time(tmp_path: Path) -> None:
    alive: list[str] = []

    def rows(name: str) -> Iterator[bytes]:
        alive.append(name)
        assert alive == [name]
        yield bytes(64)
        alive.remove(name)

    write_gguf(tmp_path / "a.gguf", {}, [(name, (64,), "I8", lambda name=name: rows(name)) for name in "abc"])
    assert alive == []


@pytest.mark.parametrize("data", [b"123", b"12345", [b"12"], [b"1234", b"5"], lambda: b""])
def test_data_of_the_wrong_length(tmp_path: Path, data: Any) -> None:
    with pytest.raises(ShapeError, match=r"tensor t: .* bytes of data, I8 of shape \(4,\) needs 4"):
        write_gguf(tmp_path / "a.gguf", {}, [("t", (4,), "I8", data)])
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_not_contiguous(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tensor t: the data are not contiguous"):
        write_gguf(tmp_path / "a.gguf", {}, [("t", (4,), "F32", np.zeros(8, np.float32)[::2])])
    assert list(tmp_path.iterdir()) == []


def test_a_copy_keeps_every_type(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", {**EVERY_TYPE, "raw": STRING([b"\xff", b"a"])}, [("t", (4,), "I8", b"1234")])
    with read_gguf(tmp_path / "a.gguf") as archive:
        tensors = [
            TensorData(entry.name, entry.shape, entry.type, archive.data(entry.name))
            for entry in archive.tensors.values()
        ]
        write_gguf(tmp_path / "b.gguf", archive.typed_metadata(), tensors)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="./\\"), min_size=1, max_size=20)
VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(width=32, allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5)
    | st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5)
    | st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=5)
    | st.lists(st.booleans(), min_size=1, max_size=5)
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=6),
    st.dictionaries(NAMES, st.binary(min_size=1, max_size=70), max_size=4),
)
def test_anything_written_is_read_back(tmp_path: Path, metadata: dict[str, Any], tensors: dict[str, bytes]) -> None:
    path = tmp_path / "a.gguf"
    write_gguf(path, metadata, [(name, (len(raw),), "I8", raw) for name, raw in tensors.items()])
    with read_gguf(path) as archive:
        assert {key: plain(value) for key, value in archive.metadata.items()} == metadata
        assert {name: bytes(archive.data(name)) for name in archive.tensors} == tensors
