"""Importance matrices: for each tensor the squares of what it was multiplied with, added up column by column.

They come as GGUF files of type "imatrix", and in the form from before that, usually named .dat.
Source: llama.cpp, tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp.
"""

from __future__ import annotations

import math
import os
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacos.errors import FormatError, UsageError
from pacos.formats import gguf_types as gt
from pacos.formats.atomic import atomic_file
from pacos.formats.cursor import DAMAGED, Cursor
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_types import TypedValue
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.formats.mapped import MappedFile
from pacos.formats.wording import shown
from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("gguf", "dat")
_SUMS, _ROWS = ".in_sum2", ".counts"
_DATASETS, _CHUNKS, _CHUNK_TOKENS = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_VALUES_MAX = 1 << 30
_NAME_BYTES_MAX = 512


@dataclass(slots=True)
class Entry:
    """What one tensor's matrices were multiplied with.

    Shapes: sums [M * K] f32, K columns for each of M matrices; rows [C] that these have multiplied, C being M, or 1
    when all have multiplied as many.
    """

    sums: NDArray[Any]
    rows: list[int]

    def means(self) -> NDArray[Any]:
        """The mean square of each column; 1 for matrices that multiplied nothing. Shapes: [M * K] f32."""
        counts = np.array(self.rows, np.float32)[:, None]
        sums = self.sums.reshape(len(self.rows), -1)
        means: NDArray[Any] = np.divide(sums, counts, out=np.ones_like(sums), where=counts > 0)
        return means.reshape(-1)

    def add(self, other: Entry) -> None:
        """Add what another run has seen. Errors: UsageError for other sizes."""
        if len(other.sums) != len(self.sums) or 1 < len(self.rows) != len(other.rows) > 1:
            raise UsageError(f"{len(other.sums)} sums of {len(other.rows)} matrices, and {len(self.sums)} elsewhere")
        most = max(len(self.rows), len(other.rows))
        mine, theirs = (one.rows * (most // len(one.rows)) for one in (self, other))
        self.rows = [a + b for a, b in zip(mine, theirs, strict=True)]
        self.sums = self.sums + other.sums


@dataclass(slots=True)
class ImportanceMatrix:
    """Entries by tensor name; `chunk_tokens` is 0 where a file does not say it: then rows are counted in chunks."""

    entries: dict[str, Entry] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    chunks: int = 0
    chunk_tokens: int = 0


def merged(matrices: Sequence[ImportanceMatrix], chunk_tokens: int) -> ImportanceMatrix:
    """What several runs have seen together; those without a chunk size are taken to have had this one.

    Errors: UsageError naming a tensor that has other sizes in one of them.
    """
    made = ImportanceMatrix(chunk_tokens=chunk_tokens)
    for matrix in matrices:
        scale = 1 if matrix.chunk_tokens else chunk_tokens
        for name, entry in matrix.entries.items():
            scaled = Entry(entry.sums * np.float32(scale), [count * scale for count in entry.rows])
            if name not in made.entries:
                made.entries[name] = scaled
                continue
            try:
                made.entries[name].add(scaled)
            except UsageError as error:
                problem = f"{shown(name)} has {error.message}"
                raise UsageError(problem, hint="merge matrices of one model only") from None
        made.datasets += matrix.datasets
    most = max((count for entry in made.entries.values() for count in entry.rows), default=0)
    made.chunks = most // chunk_tokens
    return made


def read_imatrix(path: str | os.PathLike[str]) -> ImportanceMatrix:
    """Read a file of either kind. Errors: ModelNotFound, FormatError."""
    file = MappedFile(Path(path))
    try:
        if bytes(file.view[: len(gt.MAGIC)]) != gt.MAGIC:
            return _read_dat(file)
    finally:
        file.close()
    return _read_gguf(Path(path))


def _read_gguf(path: Path) -> ImportanceMatrix:
    with read_gguf(path) as archive:
        sums = {name.removesuffix(_SUMS): name for name in archive.tensors if name.endswith(_SUMS)}
        if not sums:
            raise FormatError(f"{shown(path)}: there is no importance matrix in it", hint="`pacos imatrix` makes one")
        found = {}
        for name, key in sums.items():
            arrays = []
            for part in (key, name + _ROWS):
                entry = archive.tensors.get(part)
                if entry is None or entry.type != "F32":
                    raise FormatError(f"{shown(path)}: {shown(part)} is {'missing' if entry is None else entry.type}")
                arrays.append(np.frombuffer(archive.data(part), "<f4").astype(np.float32))
            found[name] = _checked(path, name, arrays[0], [_whole(path, name, count) for count in arrays[1].tolist()])
        known = {key: archive.metadata.get(key) for key in (_CHUNKS, _CHUNK_TOKENS)}
        numbers = [value if isinstance(value, int) else 0 for value in known.values()]
        if not numbers[1]:
            raise FormatError(f"{shown(path)}: {_CHUNK_TOKENS} is {shown(known[_CHUNK_TOKENS])}, needed is its number")
        datasets = archive.metadata.get(_DATASETS, ())
        texts = [] if isinstance(datasets, (int, float, str)) else [str(text) for text in datasets]
        return ImportanceMatrix(dict(sorted(found.items())), texts, *numbers)


def _whole(path: Path, name: str, count: float) -> int:
    if not math.isfinite(count) or count < 0:
        raise FormatError(f"{shown(path)}: {shown(name)} was multiplied {count} times", hint=DAMAGED)
    return round(count)


def _checked(path: Path, name: str, sums: NDArray[Any], rows: list[int]) -> Entry:
    if not len(sums) or not rows or len(sums) % len(rows):
        raise FormatError(f"{shown(path)}: {shown(name)} has {len(sums)} sums for {len(rows)} matrices", hint=DAMAGED)
    if not np.isfinite(sums).all() or sums.min() < 0:
        raise FormatError(f"{shown(path)}: the sums of {shown(name)} are not all numbers of 0 or more", hint=DAMAGED)
    return Entry(sums, rows)


def _read_dat(file: MappedFile) -> ImportanceMatrix:
    """The old form: counted in chunks, whose size it does not say."""
    cursor = Cursor(file)
    cursor.where, cursor.wide = "an importance matrix", False
    count = cursor.number("i")
    if not 1 <= count <= gt.MAX_TENSORS:
        raise cursor.error(f"{count} entries", "is it an importance matrix? `pacos imatrix` makes one")
    made = ImportanceMatrix()
    for _ in range(count):
        name = cursor.string(_NAME_BYTES_MAX, "a tensor's name").decode("utf-8", "replace")
        calls, values = cursor.number("i"), cursor.number("i")
        if calls < 0 or not 1 <= values <= _VALUES_MAX:
            raise cursor.error(f"{values} sums of {calls} chunks", "is it an importance matrix?")
        start = cursor.take(4 * values)
        sums = np.frombuffer(file.view[start : start + 4 * values], "<f4").astype(np.float32)
        made.entries[name] = _checked(file.path, name, sums, [calls])
    if cursor.at < file.size:
        made.chunks = cursor.number("i")
        if cursor.at < file.size:
            made.datasets.append(cursor.string(file.size, "the text's name").decode("utf-8", "replace"))
    return made


def write_imatrix(path: str | os.PathLike[str], matrix: ImportanceMatrix, kind: str = "gguf") -> int:
    """Write a file of that kind, whole or not at all, and give its size in bytes.

    Errors: UsageError for a kind that does not exist, or nothing to write; CapacityError (disk full).
    """
    if kind not in KINDS:
        raise UsageError(f"no kind of importance matrix {kind!a}", hint=f"kinds: {', '.join(KINDS)}")
    if not matrix.entries:
        raise UsageError("the importance matrix has no entries", hint="give a text of at least one chunk")
    if kind == "dat":
        data = _dat(matrix)
        with atomic_file(path, len(data)) as stream:
            stream.write(data)
        return len(data)
    metadata = {
        "general.type": "imatrix",
        _DATASETS: TypedValue("STRING", matrix.datasets),
        _CHUNKS: TypedValue("U32", matrix.chunks),
        _CHUNK_TOKENS: TypedValue("U32", matrix.chunk_tokens),
    }
    tensors = []
    for name, entry in sorted(matrix.entries.items()):
        count = len(entry.rows)
        shapes = [(len(entry.sums),), (1,)] if count == 1 else [(count, len(entry.sums) // count), (count, 1)]
        for part, shape, values in ((_SUMS, shapes[0], entry.sums), (_ROWS, shapes[1], entry.rows)):
            tensors.append(TensorData(name + part, shape, "F32", np.array(values, "<f4")))
    return write_gguf(path, metadata, tensors)


def _dat(matrix: ImportanceMatrix) -> bytes:
    """The old form, which tells one count for all matrices of a tensor, and ones for those that nothing reached."""
    kept = {name: entry for name, entry in sorted(matrix.entries.items()) if any(entry.rows)}
    parts = [struct.pack("<i", len(kept))]
    for name, entry in kept.items():
        encoded = name.encode()
        calls = -(-max(entry.rows) // (matrix.chunk_tokens or 1))
        parts += [struct.pack("<i", len(encoded)), encoded, struct.pack("<ii", calls, len(entry.sums))]
        parts.append((entry.means() * np.float32(calls)).astype("<f4").tobytes())
    last = matrix.datasets[-1].encode() if matrix.datasets else b""
    return b"".join([*parts, struct.pack("<ii", matrix.chunks, len(last)), last])


def from_sums(sums: array[float], rows: Sequence[int]) -> Entry:
    """An entry of sums in double precision. Errors: UsageError when they are not all numbers."""
    values = np.frombuffer(sums).astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError("what a tensor is multiplied with is not all numbers", hint="is the model damaged?")
    return Entry(values, list(rows))
