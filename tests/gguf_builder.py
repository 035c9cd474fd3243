"""Put GGUF files together byte by byte, honest or hostile, without the product's writer."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pacos.errors import FormatError, ModelError
from pacos.formats.gguf import read_gguf

TYPE_IDS = {"U8": 0, "I8": 1, "U16": 2, "I16": 3, "U32": 4, "I32": 5, "F32": 6, "BOOL": 7, "STRING": 8, "ARRAY": 9}
TYPE_IDS |= {"U64": 10, "I64": 11, "F64": 12}


def u32(value: int) -> bytes:
    """Four bytes."""
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    """Eight bytes."""
    return struct.pack("<Q", value)


def text(value: str | bytes) -> bytes:
    """A string with its length."""
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw)) + raw


def pair(key: str | bytes, kind: int | str, payload: bytes) -> bytes:
    """A key, the number of its value's type, the value's bytes."""
    return text(key) + u32(TYPE_IDS[kind] if isinstance(kind, str) else kind) + payload


def array_pair(key: str | bytes, kind: int | str, count: int, payload: bytes) -> bytes:
    """A key and an array that says it has `count` values."""
    return pair(key, "ARRAY", u32(TYPE_IDS[kind] if isinstance(kind, str) else kind) + u64(count) + payload)


def tensor(name: str | bytes, sizes: Sequence[int], type_id: int, offset: int, dimensions: int | None = None) -> bytes:
    """An entry of the list of tensors; sizes in the file's order, columns first."""
    head = text(name) + u32(len(sizes) if dimensions is None else dimensions)
    return head + b"".join(map(u64, sizes)) + u32(type_id) + u64(offset)


@dataclass
class Parts:
    """The pieces of a GGUF file; every count can be a lie."""

    pairs: list[bytes] = field(default_factory=lambda: [pair("general.architecture", "STRING", text("llama"))])
    tensors: list[bytes] = field(default_factory=list)
    data: bytes = b""
    version: int = 3
    alignment: int = 32
    tensor_count: int | None = None
    pair_count: int | None = None
    magic: bytes = b"GGUF"

    def __bytes__(self) -> bytes:
        tensor_count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        pair_count = len(self.pairs) if self.pair_count is None else self.pair_count
        head = self.magic + u32(self.version) + u64(tensor_count) + u64(pair_count)
        head += b"".join(self.pairs) + b"".join(self.tensors)
        return head + bytes(-len(head) % self.alignment) + self.data

    def save(self, folder: Path, name: str = "built.gguf") -> Path:
        """The file, written."""
        path = folder / name
        path.write_bytes(bytes(self))
        return path


def two_tensors() -> Parts:
    """A small sound file with every kind of metadata and two tensors, F32 [2, 4] and Q8_0 [1, 32]."""
    pairs = [
        pair("general.architecture", "STRING", text("llama")),
        pair("general.alignment", "U32", u32(32)),
        pair("a.bool", "BOOL", b"\1"),
        pair("a.float", "F32", struct.pack("<f", 1.5)),
        pair("a.double", "F64", struct.pack("<d", 0.1)),
        pair("a.byte", "I8", b"\xff"),
        pair("a.big", "U64", u64(2**64 - 1)),
        array_pair("a.words", "STRING", 3, text("one") + text("") + text("drei")),
        array_pair("a.numbers", "I32", 3, struct.pack("<3i", -1, 0, 7)),
        array_pair("a.flags", "BOOL", 2, b"\0\1"),
    ]
    tensors = [tensor("token_embd.weight", (4, 2), 0, 0), tensor("output.weight", (32, 1), 8, 32)]
    return Parts(pairs, tensors, bytes(range(32)) + bytes(range(34)) + bytes(30))


def check_message(error: ModelError) -> None:
    """An error that may be printed: one short line, nothing in it that acts on a terminal, a hint for the user."""
    message = str(error)
    assert message.isprintable()
    assert len(message) < 2048
    assert error.hint


def refused(path: Path, kind: type[ModelError] = FormatError) -> str:
    """The message of the error that opening the file must give."""
    with pytest.raises(kind) as caught:
        read_gguf(path).close()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert path.name[:100] in message
    check_message(caught.value)
    return message
