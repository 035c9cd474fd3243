"""Split a GGUF file into parts of limited size, and join them again.

Source: llama.cpp's gguf-split: the first part has all metadata, each one its number, the count and that of all tensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pacos.errors import UsageError
from pacos.formats.gguf import GgufArchive, read_gguf
from pacos.formats.gguf_split import SPLIT_KEYS
from pacos.formats.gguf_types import MAX_PARTS, TypedValue
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.types import TensorEntry

Progress = Callable[[float], object]


def split_file(
    source: str | os.PathLike[str],
    prefix: str | os.PathLike[str],
    *,
    max_bytes: int = 0,
    max_tensors: int = 0,
    replace: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write `prefix`-00001-of-0000N.gguf and so on, and give their paths; parts have at most so many bytes of tensors.

    A tensor that is larger alone has a part of its own.
    Errors: UsageError for limits that make no sense, more parts than can be named, or a part that is there already.
    """
    with read_gguf(source) as archive:
        entries = list(archive.tensors.values())
        groups = [
            [entries[number] for number in numbers]
            for numbers in grouped([entry.nbytes for entry in entries], max_bytes, max_tensors)
        ]
        paths = part_names(prefix, len(groups))
        _check_absent(paths, replace=replace)
        whole = {key: value for key, value in archive.typed_metadata().items() if key not in SPLIT_KEYS}
        done = 0
        for i, group in enumerate(groups):
            marks = _marks(i, len(groups), len(archive.tensors))
            write_gguf(paths[i], {**whole, **marks} if i == 0 else marks, _copied(archive, group), replace=True)
            done += len(group)
            if progress is not None:
                progress(done / max(1, len(archive.tensors)))
        return paths


def write_parts(
    output: str | os.PathLike[str], metadata: Mapping[str, Any], parts: Sequence[list[TensorData]], *, replace: bool
) -> int:
    """Write tensors as parts, named after `output` without its ending, and give their bytes together.

    Errors: UsageError when one of the files is there and shall not be replaced.
    """
    given = Path(output)
    prefix = given.with_suffix("") if given.suffix == ".gguf" else given
    paths = part_names(prefix, len(parts))
    _check_absent(paths, replace=replace)
    total = sum(map(len, parts))
    nbytes = 0
    for i, (path, tensors) in enumerate(zip(paths, parts, strict=True)):
        marks = _marks(i, len(parts), total)
        nbytes += write_gguf(path, {**metadata, **marks} if i == 0 else marks, tensors, replace=True)
    return nbytes


def part_names(prefix: str | os.PathLike[str], count: int) -> list[Path]:
    """The names of parts, as llama.cpp writes them."""
    given = Path(prefix)
    return [given.with_name(f"{given.name}-{i + 1:05}-of-{count:05}.gguf") for i in range(count)]


def _check_absent(paths: Iterable[Path], *, replace: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not replace:
        raise UsageError(f"{there[0]} exists", hint="give another prefix, or --force to replace it")


def _marks(number: int, count: int, tensors: int) -> dict[str, TypedValue]:
    """What a part says of its place."""
    return {
        "split.no": TypedValue("U16", number),
        "split.count": TypedValue("U16", count),
        "split.tensors.count": TypedValue("I32", tensors),
    }


def merge_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the model of which `source` is a part as one file, and give its size in bytes.

    Errors: UsageError when it is no part; FormatError and ModelNotFound when the parts do not belong together.
    """
    with read_gguf(source) as archive:
        if len(archive.parts) == 1:
            raise UsageError(f"{source} is not split", hint="give one of the files NAME-00001-of-0000N.gguf")
        if Path(output).exists() and any(Path(output).samefile(part) for part in archive.parts):
            raise UsageError(f"{output} is a part itself", hint="give another name for the output")
        metadata = {key: value for key, value in archive.typed_metadata().items() if key not in SPLIT_KEYS}
        return write_gguf(output, metadata, _copied(archive, archive.tensors.values(), progress), replace=replace)


def grouped(sizes: Sequence[int], max_bytes: int, max_tensors: int) -> list[range]:
    """Which tensors of these sizes each part holds.

    Errors: UsageError for limits that make no sense, or more parts than can be named.
    """
    if max_bytes < 0 or max_tensors < 0 or bool(max_bytes) == bool(max_tensors):
        raise UsageError("give the size of the parts or the number of their tensors", hint="--max-size 2G")
    groups = [range(0)]
    nbytes = 0
    for number, size in enumerate(sizes):
        last = groups[-1]
        full = len(last) >= max_tensors if max_tensors else nbytes + size > max_bytes
        if len(last) and full:
            groups.append(range(number, number))
            nbytes = 0
        groups[-1] = range(groups[-1].start, number + 1)
        nbytes += size
    if len(groups) > MAX_PARTS:
        raise UsageError(f"{len(groups)} parts, at most {MAX_PARTS} can be named", hint="make them larger")
    return groups


def _copied(archive: GgufArchive, entries: Iterable[TensorEntry], progress: Progress | None = None) -> list[TensorData]:
    """The tensors as they are, read when their turn comes."""
    listed = list(entries)

    def reader(entry: TensorEntry, share: float) -> Callable[[], Any]:
        def read() -> Any:
            if progress is not None:
                progress(share)
            return archive.data(entry.name)

        return read

    total = max(1, len(listed))
    return [
        TensorData(entry.name, entry.shape, entry.type, reader(entry, (i + 1) / total))
        for i, entry in enumerate(listed)
    ]
