"""GGUF of version 1, and of big-endian machines: the same metadata and tensors as in today's files."""

from __future__ import annotations

import argparse
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.scripts.gguf_convert_endian import convert_byteorder
from gguf_builder import text, two_tensors

from pacos import quants
from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.gguf import GgufArchive, read_gguf
from pacos.formats.gguf_big_endian import little_endian
from pacos.formats.gguf_types import TENSOR_TYPES
from pacos.formats.gguf_write import TensorData, write_gguf

KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "MXFP4")
METADATA = {"general.architecture": "llama", "general.name": "turned", "llama.block_count": 3, "a.list": [1.5, -2.0]}
METADATA |= {"a.flags": [True, False], "tokenizer.ggml.tokens": ["one", "", "größer"]}


@pytest.fixture
def today(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)

    def tensor(kind: str) -> TensorData:
        values = rng.standard_normal((3, 256)).astype(np.float32)
        return TensorData(f"{kind}.weight", (3, 256), kind, lambda: iter([quants.quantize(kind, values)]))

    write_gguf(tmp_path / "today.gguf", METADATA, [tensor(kind) for kind in KINDS])
    return tmp_path / "today.gguf"


def check_same(one: GgufArchive, other: GgufArchive) -> None:
    assert dict(one.metadata) == dict(other.metadata)
    assert one.value_types == other.value_types
    assert list(one.tensors) == list(other.tensors)
    for name in one.tensors:
        assert one.tensors[name].shape == other.tensors[name].shape
        assert bytes(one.data(name)) == bytes(other.data(name)), name


def test_a_big_endian_file_is_turned_round(today: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is made big-endian by the `gguf` package's own program."""
    path = tmp_path / "big.gguf"
    shutil.copy(today, path)
    monkeypatch.setattr("builtins.input", lambda _: "YES")
    convert_byteorder(GGUFReader(path, "r+"), argparse.Namespace(order="big", dry_run=False))
    with read_gguf(today) as wanted, read_gguf(path) as found:
        assert bytes(path.read_bytes()[4:8]) == b"\0\0\0\3"
        assert found.format == "GGUF 3, big-endian"
        check_same(found, wanted)
        assert found.address("Q4_K.weight") != 0


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q5_K", "IQ4_XS", "TQ1_0", "TQ2_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"])
def test_scales_are_all_that_is_turned(kind: str) -> None:
    """Turned twice is as before; what is turned are the block's half floats, wherever they lie."""
    form = next(one for one in TENSOR_TYPES.values() if one.name == kind)
    values = np.random.default_rng(2).standard_normal((1, form.block)).astype(np.float32)
    raw = bytes(quants.quantize(kind, values))
    turned = little_endian(memoryview(raw), kind)
    assert little_endian(memoryview(turned), kind) == raw
    changed = [i for i in range(len(raw)) if raw[i] != turned[i]]
    assert 1 <= len(changed) <= 4
    assert {i + 1 - 2 * (i % 2) for i in changed} == set(changed)  # bytes change in pairs


def test_a_type_that_nobody_writes_big_endian_is_refused(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack(">IQQ", 3, 1, 0) + struct.pack(">Q", 1) + b"t" + struct.pack(">I", 1)
    head += struct.pack(">QIQ", 256, 16, 0)  # IQ2_XXS
    (tmp_path / "big.gguf").write_bytes(head + bytes(-len(head) % 32) + bytes(66))
    with pytest.raises(UnsupportedModel, match="IQ2_XXS in a big-endian file"):
        read_gguf(tmp_path / "big.gguf")


def version_1(content: bytes) -> bytes:
    """The bytes of `two_tensors()` as version 1 wrote them: counts, lengths and sizes of 32 bits."""
    at, made = 8, bytearray(b"GGUF" + struct.pack("<I", 1))

    def number(letter: str) -> int:
        nonlocal at
        value = struct.unpack_from("<" + letter, content, at)[0]
        at += struct.calcsize("<" + letter)
        return int(value)

    def narrow() -> int:
        value = number("Q")
        made.extend(struct.pack("<I", value))
        return value

    def copy(nbytes: int) -> None:
        nonlocal at
        made.extend(content[at : at + nbytes])
        at += nbytes

    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def value(kind: int) -> None:
        if kind == 8:
            copy(narrow())
        elif kind == 9:
            inner = number("I")
            made.extend(struct.pack("<I", inner))
            for _ in range(narrow()):
                value(inner)
        else:
            copy(sizes[kind])

    tensors, pairs = narrow(), narrow()
    for _ in range(pairs):
        copy(narrow())
        kind = number("I")
        made.extend(struct.pack("<I", kind))
        value(kind)
    for _ in range(tensors):
        copy(narrow())
        dimensions = number("I")
        made.extend(struct.pack("<I", dimensions))
        for _ in range(dimensions):
            narrow()
        copy(12)
    return bytes(made) + bytes(-len(made) % 32) + content[at + -at % 32 :]


def test_version_1_has_narrow_lengths(tmp_path: Path) -> None:
    wanted = two_tensors().save(tmp_path)
    path = tmp_path / "one.gguf"
    path.write_bytes(version_1(wanted.read_bytes()))
    with read_gguf(path) as found, read_gguf(wanted) as today:
        assert found.format == "GGUF 1"
        check_same(found, today)


def test_version_1_cut_anywhere(tmp_path: Path) -> None:
    whole = version_1(two_tensors().save(tmp_path).read_bytes())
    path = tmp_path / "cut.gguf"
    for end in range(1, len(whole) - 31):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError):
            read_gguf(path)


def test_a_long_string_of_version_1(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<III", 1, 0, 1) + text("general.architecture")[8:]
    (tmp_path / "one.gguf").write_bytes(head + struct.pack("<I", 2**32 - 1) * 8)
    with pytest.raises(FormatError, match="the file ends inside"):
        read_gguf(tmp_path / "one.gguf")
