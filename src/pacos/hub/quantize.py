"""Write a GGUF file anew with other tensor types, streamed and on several threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import UsageError
from pacos.formats import open_archive
from pacos.formats.gguf import GgufArchive
from pacos.formats.gguf_split import SPLIT_KEYS
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.file_types import FILE_TYPES, file_type_metadata
from pacos.hub.mixes import NO_WISHES, Mix, Wishes
from pacos.native import freed_memory_kept
from pacos.types import TensorEntry

_PIECE_WEIGHTS = 1 << 20
_THREADS_MAX = 8

Progress = Callable[[float], object]


def quantize_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    file_type: str,
    progress: Progress | None = None,
    threads: int = 0,
    *,
    replace: bool = True,
    wishes: Wishes = NO_WISHES,
) -> int:
    """Quantize a GGUF file and give the new file's size in bytes; `progress` gets the share done, 0 to 1.

    `wishes` change the types that the mix would give. A source that is already quantized works too, but its losses stay
    and add up. Without `replace`, an output that is there stays.
    Errors: UsageError for an unknown type or for output and source being one file; FormatError, UnsupportedModel.
    """
    source, output = Path(source), Path(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output} is the source itself", hint="give another name for the output")
    workers = threads or min(_THREADS_MAX, os.cpu_count() or 1)
    with freed_memory_kept(), _opened(source) as archive, ThreadPoolExecutor(workers) as pool:
        mix = Mix.of(file_type.upper(), archive.metadata, archive.tensors, wishes)
        metadata: dict[str, Any] = {k: v for k, v in archive.typed_metadata().items() if k not in SPLIT_KEYS}
        metadata |= file_type_metadata(FILE_TYPES[mix.file_type])
        counter = _Counter(sum(entry.nbytes for entry in archive.tensors.values()), progress)
        tensors = []
        for entry in archive.tensors.values():
            target = mix.type_of(entry)
            tensors.append(
                TensorData(entry.name, entry.shape, target, _pieces(archive, entry, target, pool, workers, counter))
            )
        return write_gguf(output, metadata, tensors, replace=replace)


def _opened(source: Path) -> GgufArchive:
    archive = open_archive(source)
    if not isinstance(archive, GgufArchive):
        archive.close()
        raise UsageError(f"{source} is no GGUF file", hint="`pacos convert` makes one of it; quantize that")
    return archive


class _Counter:
    """Bytes of the source that are done."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = max(1, total)
        self._done = 0
        self._progress = progress

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done / self._total)


def _pieces(
    archive: GgufArchive, entry: TensorEntry, target: str, pool: ThreadPoolExecutor, workers: int, counter: _Counter
) -> Callable[[], Iterator[Any]]:
    """The tensor's bytes in the new type, in order, a few pieces ahead of the writer."""

    def make() -> Iterator[Any]:
        data = archive.data(entry.name)
        if entry.type == target:
            yield data
            counter.add(entry.nbytes)
            return
        columns = entry.shape[-1]
        row_bytes = quants.row_bytes(entry.type, columns)
        step = max(1, _PIECE_WEIGHTS // columns) * row_bytes
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            shape = (len(piece) // row_bytes, columns)
            waiting.append((len(piece), pool.submit(_encode, entry.type, piece, shape, target)))
            if len(waiting) > 2 * workers:
                yield _next(waiting, counter)
        while waiting:
            yield _next(waiting, counter)

    return make


def _next(waiting: deque[tuple[int, Future[bytes]]], counter: _Counter) -> bytes:
    nbytes, future = waiting.popleft()
    result = future.result()
    counter.add(nbytes)
    return result


def _encode(source: str, piece: memoryview, shape: tuple[int, int], target: str) -> bytes:
    return quants.quantize(target, quants.dequantize(source, piece, shape))
