"""Write a GGUF file anew with other tensor types, streamed and on several threads."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import FormatError, UsageError
from pacos.formats import open_archive
from pacos.formats.gguf import GgufArchive
from pacos.formats.gguf_split import SPLIT_KEYS
from pacos.formats.gguf_types import TypedValue
from pacos.formats.gguf_write import TensorData, tensor_bytes, write_gguf
from pacos.hub.file_types import FILE_TYPES, file_type_metadata
from pacos.hub.guide import Guide
from pacos.hub.mixes import NO_WISHES, Mix, Wishes
from pacos.hub.parts import write_parts
from pacos.native import freed_memory_kept
from pacos.types import TensorEntry

_PIECE_WEIGHTS = 1 << 20
_THREADS_MAX = 8
_LAYER = re.compile(r"^blk\.(\d+)\.")

Progress = Callable[[float], object]


@dataclass(frozen=True, slots=True)
class Changes:
    """What else shall differ: layers left out, keys set to other values; `keep_split` writes the source's parts."""

    pruned: frozenset[int] = frozenset()
    overrides: Mapping[str, TypedValue] = field(default_factory=dict)
    keep_split: bool = False


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor of the source, its name and type in the new file, and the importance of its columns, where known."""

    entry: TensorEntry
    name: str
    type: str
    importance: Any = None
    missing: bool = False  # it would be garbage without, and there is none

    @property
    def nbytes(self) -> int:
        """Bytes in the new file."""
        return tensor_bytes(self.name, self.entry.shape, self.type)


def plan_tensors(
    archive: GgufArchive,
    file_type: str,
    wishes: Wishes = NO_WISHES,
    guide: Guide | None = None,
    pruned: Iterable[int] = (),
) -> list[Planned]:
    """The tensors of the new file, in order. Errors: UsageError for an unknown type, or a guide of another model."""
    names = _renumbered(archive.tensors, frozenset(pruned))
    entries = {name: replace_fields(archive.tensors[old], name=name) for old, name in names.items()}
    mix = Mix.of(file_type.upper(), archive.metadata, entries, wishes, importance=guide is not None)
    planned = []
    for old, name in names.items():
        entry, kind = archive.tensors[old], mix.type_of(entries[name])
        weights = guide.weights_of(entry) if guide is not None and entry.type != kind else None
        missing = weights is None and entry.type != kind and mix.needs_importance(entries[name])
        planned.append(Planned(entry, name, kind, weights, missing))
    return planned


def quantize_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    file_type: str,
    progress: Progress | None = None,
    threads: int = 0,
    *,
    replace: bool = True,
    wishes: Wishes = NO_WISHES,
    guide: Guide | None = None,
    changes: Changes = NO_CHANGES,
) -> int:
    """Quantize a GGUF file and give the new file's size in bytes; `progress` gets the share done, 0 to 1.

    `wishes` change the types that the mix would give. A source that is already quantized works too, but its losses stay
    and add up. Without `replace`, an output that is there stays.
    Errors: UsageError for an unknown type, for one that needs a guide where there is none, or for output and source
    being one file; FormatError, UnsupportedModel.
    """
    source, output = Path(source), Path(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output} is the source itself", hint="give another name for the output")
    workers = threads or min(_THREADS_MAX, os.cpu_count() or 1)
    with freed_memory_kept(), open_gguf(source) as archive, ThreadPoolExecutor(workers) as pool:
        planned = plan_tensors(archive, file_type, wishes, guide, changes.pruned)
        for one in planned:
            if one.missing:
                raise UsageError(
                    f"{one.entry.name} would be garbage as {one.type} without an importance matrix",
                    hint="--imatrix FILE gives one (`pacos imatrix` makes it), or choose a type of more bits",
                )
        metadata: dict[str, Any] = {k: v for k, v in archive.typed_metadata().items() if k not in SPLIT_KEYS}
        metadata |= file_type_metadata(FILE_TYPES[file_type.upper()])
        metadata |= _pruned_metadata(metadata, archive.metadata, changes.pruned)
        metadata |= changes.overrides
        metadata |= guide.metadata() if guide is not None else {}
        counter = _Counter(sum(one.entry.nbytes for one in planned), progress)
        parts: dict[int, list[TensorData]] = {}
        for one in planned:
            made = TensorData(one.name, one.entry.shape, one.type, _pieces(archive, one, pool, workers, counter))
            parts.setdefault(one.entry.part if changes.keep_split else 0, []).append(made)
        if not changes.keep_split or len(archive.parts) < 2:
            return write_gguf(output, metadata, parts.get(0, []), replace=replace)
        return write_parts(output, metadata, [parts[number] for number in sorted(parts)], replace=replace)


def _renumbered(names: Iterable[str], pruned: frozenset[int]) -> dict[str, str]:
    """The names that stay, and what they are called when layers are left out. Errors: UsageError for one not there."""
    layers = sorted({int(found[1]) for found in map(_LAYER.match, names) if found})
    if wrong := sorted(pruned - set(layers)):
        known = f"layers: {layers[0]} to {layers[-1]}" if layers else "this model numbers none as blk.N: leave all"
        raise UsageError(f"there is no layer {wrong[0]}", hint=known)
    if layers and len(pruned) == len(layers):
        raise UsageError(f"all {len(layers)} layers would be left out", hint="leave one at least")
    numbers = {layer: i for i, layer in enumerate(one for one in layers if one not in pruned)}
    kept = {}
    for name in names:
        found = _LAYER.match(name)
        if found is None:
            kept[name] = name
        elif int(found[1]) in numbers:
            kept[name] = f"blk.{numbers[int(found[1])]}.{name[found.end() :]}"
    return kept


def _pruned_metadata(
    typed: Mapping[str, TypedValue], plain: Mapping[str, Any], pruned: frozenset[int]
) -> dict[str, Any]:
    """The number of layers that stay, and lists of one value a layer without those of the others."""
    prefix = f"{plain.get('general.architecture')}."
    count = plain.get(f"{prefix}block_count")
    if not pruned or not isinstance(count, int):
        return {}
    changed = {f"{prefix}block_count": TypedValue("U32", count - len(pruned))}
    for key, value in plain.items():
        if key.startswith(prefix) and not isinstance(value, (str, int, float)) and len(value) == count:
            kept = [one for i, one in enumerate(value) if i not in pruned]
            changed[key] = TypedValue(typed[key].type, kept)
    return changed


def open_gguf(source: Path) -> GgufArchive:
    """Open a GGUF file. Errors: UsageError for a model of another kind."""
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
    archive: GgufArchive, planned: Planned, pool: ThreadPoolExecutor, workers: int, counter: _Counter
) -> Callable[[], Iterator[Any]]:
    """The tensor's bytes in the new type, in order, a few pieces ahead of the writer."""
    entry, target = planned.entry, planned.type

    def make() -> Iterator[Any]:
        data = archive.data(entry.name)
        if entry.type == target:
            yield data
            counter.add(entry.nbytes)
            return
        waiting: deque[tuple[int, Future[Any]]] = deque()
        for piece, shape, importance in _cut(data, planned):
            waiting.append((len(piece), pool.submit(_repack, entry, piece, shape, target, importance)))
            if len(waiting) > 2 * workers:
                yield _next(waiting, counter)
        while waiting:
            yield _next(waiting, counter)

    return make


def _cut(data: memoryview, planned: Planned) -> Iterator[tuple[memoryview, tuple[int, int], Any]]:
    """Runs of rows, with the importance of their columns; experts have each their own."""
    entry = planned.entry
    columns = entry.shape[-1]
    row_bytes = quants.row_bytes(entry.type, columns)
    rows = len(data) // row_bytes if row_bytes else 0
    together = rows if planned.importance is None else rows // len(planned.importance)
    step = max(1, _PIECE_WEIGHTS // columns)
    for first in range(0, rows, together):
        importance = None if planned.importance is None else planned.importance[first // together]
        for start in range(first, first + together, step):
            count = min(step, first + together - start)
            yield data[start * row_bytes : (start + count) * row_bytes], (count, columns), importance


def _repack(entry: TensorEntry, piece: memoryview, shape: tuple[int, int], target: str, importance: Any) -> Any:
    """The piece's blocks in the new type. Errors: FormatError that names the tensor."""
    try:
        return quants.repack(entry.type, piece, shape, target, importance)
    except FormatError as error:
        raise FormatError(f"{entry.name}: {error.message}", hint=error.hint) from None


def _next(waiting: deque[tuple[int, Future[Any]]], counter: _Counter) -> Any:
    nbytes, future = waiting.popleft()
    result = future.result()
    counter.add(nbytes)
    return result
