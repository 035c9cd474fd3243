"""Counts, limits and tensors of GGUF files that lie: refused before anything is allocated or read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_builder import Parts, array_pair, pair, refused, tensor, text, two_tensors, u32

from pacos.errors import FormatError, ModelError, UnsupportedModel
from pacos.formats import gguf_types
from pacos.formats.gguf import read_gguf


def refused_tensor(
    folder: Path, *entries: bytes, data: bytes = bytes(4096), kind: type[ModelError] = FormatError
) -> str:
    """The message for a file with these tensors."""
    return refused(Parts(tensors=list(entries), data=data).save(folder), kind)


# ---- counts


@pytest.mark.parametrize("count", [2**64 - 1, 2**63, 2**60, 2**32, 3])
def test_counts_of_tensors_and_keys_that_lie(tmp_path: Path, count: int) -> None:
    parts = two_tensors()
    parts.tensor_count = count
    refused(parts.save(tmp_path))
    parts = two_tensors()
    parts.pair_count = count if count > 10 else 11
    refused(parts.save(tmp_path))


def test_counts_that_the_bytes_cannot_hold_are_refused_before_reading(tmp_path: Path) -> None:
    parts = Parts(tensor_count=200, data=bytes(6000))
    assert "200 tensors cannot fit the file" in refused(parts.save(tmp_path))
    parts = Parts(pair_count=500, data=bytes(6000))
    assert "500 metadata keys cannot fit the file" in refused(parts.save(tmp_path))


def test_an_empty_header_is_refused(tmp_path: Path) -> None:
    assert "neither metadata nor tensors" in refused(Parts([], data=bytes(100)).save(tmp_path))


def test_the_limit_of_keys_on_both_sides(tmp_path: Path) -> None:
    pairs = [pair(f"k{i}", "U8", b"\1") for i in range(gguf_types.MAX_METADATA_KEYS + 1)]
    assert "65537 metadata keys, at most 65536" in refused(Parts(pairs).save(tmp_path))
    with read_gguf(Parts(pairs[:-1]).save(tmp_path)) as archive:
        assert len(archive.metadata) == 65_536


LIMITS: list[tuple[str, int, Callable[[int], Parts]]] = [
    (
        "MAX_TENSORS",
        3,
        lambda n: Parts(tensors=[tensor(f"t{i}", (1,), 24, 32 * i) for i in range(n)], data=bytes(32 * n)),
    ),
    ("MAX_METADATA_KEYS", 3, lambda n: Parts([pair(f"k{i}", "U8", b"\1") for i in range(n)])),
    ("MAX_KEY_BYTES", 65_535, lambda n: Parts([pair("k" * n, "U8", b"\1")])),
    ("MAX_KEY_BYTES", 40, lambda n: Parts([pair("k" * n, "U8", b"\1")])),
    ("MAX_TENSOR_NAME_BYTES", 64, lambda n: Parts(tensors=[tensor("t" * n, (1,), 24, 0)], data=b"1")),
    ("MAX_STRING_BYTES", 100, lambda n: Parts([pair("k", "STRING", text("x" * n))])),
    ("MAX_STRING_BYTES", 100, lambda n: Parts([array_pair("k", "STRING", 1, text("x" * n))])),
    ("MAX_STRING_BYTES", 100, lambda n: Parts([array_pair("k", "STRING", 600, text("x" * n) * 600)])),
    ("MAX_ARRAY_ELEMENTS", 7, lambda n: Parts([array_pair("k", "U16", n, bytes(2 * n))])),
    ("MAX_ARRAY_ELEMENTS", 7, lambda n: Parts([array_pair("k", "STRING", n, bytes(8 * n))])),
    ("MAX_BOOL_ARRAY_ELEMENTS", 7, lambda n: Parts([array_pair("k", "BOOL", n, bytes(n))])),
    ("MAX_METADATA_BYTES", 100, lambda n: Parts([pair("k", "STRING", text(bytes(n - 45)))])),
    ("MAX_DIMENSIONS", 4, lambda n: Parts(tensors=[tensor("t", (1,) * n, 24, 0)], data=b"1")),
    ("MAX_DIMENSIONS", 2, lambda n: Parts(tensors=[tensor("t", (1,) * n, 24, 0)], data=b"1")),
    ("MAX_DIMENSION", 9, lambda n: Parts(tensors=[tensor("t", (n,), 24, 0)], data=bytes(n))),
]


@pytest.mark.parametrize(
    ("name", "limit", "build"), LIMITS, ids=lambda value: str(value) if not callable(value) else ""
)
def test_every_limit_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, build: Callable[[int], Parts]
) -> None:
    monkeypatch.setattr(gguf_types, name, limit)
    read_gguf(build(limit).save(tmp_path)).close()
    refused(build(limit + 1).save(tmp_path))


def test_the_limit_of_alignment_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_types, "MAX_ALIGNMENT", 64)
    read_gguf(Parts([pair("general.alignment", "U32", u32(64))]).save(tmp_path)).close()
    refused(Parts([pair("general.alignment", "U32", u32(128))]).save(tmp_path))


# ---- tensors


@pytest.mark.parametrize("name", [b"", b"a\0b", b"a\nb", b"\xff", b"../secret", b"a/../b", b"..\\x", b"x" * 65])
def test_tensor_names_that_are_none(tmp_path: Path, name: bytes) -> None:
    assert "tensor" in refused_tensor(tmp_path, tensor(name, (1,), 0, 0))


def test_a_name_with_dots_is_no_path(tmp_path: Path) -> None:
    read_gguf(Parts(tensors=[tensor("a..b/c", (1,), 0, 0)], data=bytes(4)).save(tmp_path)).close()


@pytest.mark.parametrize("sizes", [(4,), (8,)])
def test_tensors_twice(tmp_path: Path, sizes: tuple[int]) -> None:
    message = refused_tensor(tmp_path, tensor("t", (4,), 0, 0), tensor("t", sizes, 0, 32))
    assert "two tensors have this name, in tensor t" in message


@pytest.mark.parametrize("dimensions", [0, 5, 2**32 - 1])
def test_numbers_of_dimensions(tmp_path: Path, dimensions: int) -> None:
    message = refused_tensor(tmp_path, tensor("t", (1, 1), 0, 0, dimensions=dimensions))
    assert f"{dimensions} dimensions, needed are 1 to 4" in message


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**63 - 1, 2**62])
def test_dimensions_that_overflow(tmp_path: Path, position: int, size: int) -> None:
    sizes = [4, 4, 4, 4]
    sizes[position] = size - size % 4 if size == 2**62 else size
    for type_id in (0, 24, 8):
        refused_tensor(tmp_path, tensor("t", sizes, type_id, 0))


def test_sizes_whose_bytes_wrap_64_bits(tmp_path: Path) -> None:
    assert "ends inside tensor t" in refused_tensor(tmp_path, tensor("t", (4, 2**30 - 1, 2**30 + 1), 0, 0))
    half = 2**63 - 64
    refused_tensor(tmp_path, tensor("a", (half,), 24, 0), tensor("b", (half,), 24, half))
    refused_tensor(tmp_path, tensor("a", (2**31, 2**31, 4), 0, 0), tensor("b", (1,), 0, 0))


@pytest.mark.parametrize("type_id", [number for number, kind in gguf_types.TENSOR_TYPES.items() if kind.block > 1])
def test_rows_are_whole_blocks(tmp_path: Path, type_id: int) -> None:
    kind = gguf_types.TENSOR_TYPES[type_id]
    for columns in (1, kind.block - 1, kind.block + 1):
        message = refused_tensor(tmp_path, tensor("t", (columns, kind.block), type_id, 0))
        assert f"rows of {columns} weights are not whole {kind.name} blocks of {kind.block}" in message
    parts = Parts(tensors=[tensor("t", (kind.block, 2), type_id, 0)], data=bytes(2 * kind.block_bytes))
    with read_gguf(parts.save(tmp_path)) as archive:
        assert archive.tensors["t"].nbytes == 2 * kind.block_bytes


@pytest.mark.parametrize("type_id", [4, 5, 31, 32, 33, 36, 37, 38, 43, 255, 2**32 - 1])
def test_unknown_and_removed_tensor_types(tmp_path: Path, type_id: int) -> None:
    message = refused_tensor(tmp_path, tensor("blk.0.attn_q.weight", (256,), type_id, 0), kind=UnsupportedModel)
    assert "tensor blk.0.attn_q.weight has" in message
    assert f"type {type_id}" in message
    assert ("which ggml has removed" in message) == (type_id in gguf_types.REMOVED_TENSOR_TYPES)


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (33, "no multiple of the alignment 32"),
        (2**64 - 1, "no multiple of the alignment 32"),
        (2**64 - 32, "leaves a hole"),
        (64, "leaves a hole"),
        (0, "lies inside an earlier tensor, which ends at 32"),
    ],
)
def test_tensors_lie_one_behind_the_other(tmp_path: Path, offset: int, words: str) -> None:
    message = refused_tensor(tmp_path, tensor("a", (8,), 0, 0), tensor("b", (8,), 0, offset))
    assert words in message
    assert "tensor b" in message


def test_tensors_in_reversed_order_or_behind_a_hole(tmp_path: Path) -> None:
    refused_tensor(tmp_path, tensor("a", (8,), 0, 32), tensor("b", (8,), 0, 0))
    refused_tensor(tmp_path, tensor("a", (8,), 0, 32))


def test_no_data_at_all(tmp_path: Path) -> None:
    parts = two_tensors()
    parts.data = b""
    assert "download incomplete?" in refused(parts.save(tmp_path))
