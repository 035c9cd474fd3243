"""Files of log-probabilities: what one model said of a text, for others to be compared with.

Each row has a scale and a least value, and a u16 for every vocabulary entry: 65535 is the likeliest, 0 what is e^16
times less likely, or more.
Source: llama.cpp, tools/perplexity (--kl-divergence-base).
Shapes: V vocabulary entries; a chunk of C tokens has C - 1 - C // 2 rows, of its second half.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pacos.errors import FormatError, UsageError
from pacos.formats.atomic import atomic_file
from pacos.formats.cursor import Cursor
from pacos.formats.mapped import MappedFile
from pacos.formats.wording import shown
from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"_logits_"
_HEAD = struct.Struct("<8siii")
_REACH = 16.0  # natural logarithms that a row tells apart
_CHUNK_TOKENS_MAX, _VOCABULARY_MAX = 1 << 24, 1 << 24
_LEAST_TOKENS = 4


def _row_words(vocabulary: int) -> int:
    return 2 * ((vocabulary + 1) // 2) + 4


def packed(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows of logits as the file holds them. Shapes: [R, V] f32 -> [R, W] u16."""
    high = rows.max(axis=1, keepdims=True)
    low = np.maximum(rows.min(axis=1, keepdims=True), high - np.float32(_REACH))
    sums = np.log(np.exp(rows - high).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    scale = (high - low) / np.float32(65535)
    made = np.zeros((len(rows), _row_words(rows.shape[1])), np.uint16)
    made[:, :4] = np.concatenate([scale, low - high - sums], axis=1).astype("<f4").view("<u2")
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    made[:, 4 : 4 + rows.shape[1]] = np.rint(inverse * np.maximum(rows - low, np.float32(0))).astype(np.uint16)
    return made


def unpacked(rows: NDArray[Any], vocabulary: int) -> NDArray[Any]:
    """The log-probabilities of packed rows. Shapes: [R, W] u16 -> [R, V] f32."""
    heads = np.ascontiguousarray(rows[:, :4]).view("<f4").astype(np.float32)
    values: NDArray[Any] = heads[:, :1] * rows[:, 4 : 4 + vocabulary].astype(np.float32) + heads[:, 1:]
    return values


@contextmanager
def logits_written(
    path: str | os.PathLike[str], chunk_tokens: int, vocabulary: int, chunks: Sequence[Sequence[int]]
) -> Iterator[BinaryIO]:
    """A file to write the packed rows of each chunk into; it appears when all are there.

    Errors: CapacityError when the disk has no room for it.
    """
    rows = chunk_tokens - 1 - chunk_tokens // 2
    total = _HEAD.size + len(chunks) * (4 * chunk_tokens + 2 * rows * _row_words(vocabulary))
    with atomic_file(path, total) as stream:
        stream.write(_HEAD.pack(_MAGIC, chunk_tokens, vocabulary, len(chunks)))
        for chunk in chunks:
            stream.write(array("i", chunk).tobytes())
        yield stream


class LogitsFile:
    """An open file of log-probabilities. Errors: ModelNotFound; FormatError for another kind of file, or a part."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = MappedFile(Path(path))
        try:
            cursor = Cursor(self._file)
            cursor.where = "the head"
            magic, self.chunk_tokens, self.vocabulary, self.count = _HEAD.unpack_from(
                self._file.view, cursor.take(_HEAD.size)
            )
            sizes = _LEAST_TOKENS <= self.chunk_tokens <= _CHUNK_TOKENS_MAX and 1 <= self.vocabulary <= _VOCABULARY_MAX
            if magic != _MAGIC or not sizes or self.count < 1:
                raise FormatError(
                    f"{shown(path)}: no file of log-probabilities",
                    hint="`pacos perplexity BASE -f TEXT --kl-divergence-base FILE` writes one",
                )
            cursor.where = "the tokens"
            start = cursor.take(4 * self.chunk_tokens * self.count)
            self._tokens = np.frombuffer(self._file.view, "<i4", self.chunk_tokens * self.count, start)
            cursor.where = "the rows"
            self.rows = self.chunk_tokens - 1 - self.chunk_tokens // 2
            words = self.count * self.rows * _row_words(self.vocabulary)
            self._start = cursor.take(2 * words)
        except BaseException:
            self.close()
            raise

    def tokens(self, chunk: int) -> list[int]:
        """The tokens of a chunk. Errors: UsageError for one outside the vocabulary."""
        found: list[int] = self._tokens[chunk * self.chunk_tokens : (chunk + 1) * self.chunk_tokens].tolist()
        if not all(0 <= token < self.vocabulary for token in found):
            raise UsageError(f"a token of chunk {chunk} is not one of {self.vocabulary}", hint="is the file damaged?")
        return found

    def log_probabilities(self, chunk: int) -> NDArray[Any]:
        """What the model said. Shapes: [R, V] f32."""
        width = _row_words(self.vocabulary)
        start = self._start + 2 * chunk * self.rows * width
        rows = np.frombuffer(self._file.view, "<u2", self.rows * width, start).reshape(self.rows, width)
        return unpacked(rows, self.vocabulary)

    def close(self) -> None:
        """Release the file."""
        self._tokens = np.empty(0, np.int32)
        self._file.close()

    def __enter__(self) -> LogitsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
