"""Read safetensors files and Hugging Face folders with them, memory-mapped, under the tensors' own names.

Source: the safetensors format description (huggingface/safetensors README) and its reference parser's rules: u64 header
length, JSON header, then the data of the tensors without holes, overlaps or anything behind.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from pacos.errors import FormatError, ModelNotFound, UnsupportedModel
from pacos.formats.container import Container
from pacos.formats.foreign import HEAD_BYTES, wrong_magic
from pacos.formats.mapped import MappedArchive, MappedFile
from pacos.formats.wording import shown, sized
from pacos.types import TensorEntry

MAX_HEADER_BYTES = 100_000_000  # as in the reference parser
MAX_INDEX_BYTES = 100_000_000
MAX_DIMENSIONS = 64
MAX_TENSORS = 262_144
MAX_SHARDS = 10_000
SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

# Bits of one value. The names in `safetensors.tensor.Dtype`; they are also the type names in the archive.
DTYPE_BITS = {
    **{"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8},
    **{"U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64},
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4},
}
COMPUTED_DTYPES = frozenset({"F32", "F16", "BF16"})
_DAMAGED = "download incomplete or file damaged? the file has {} bytes"
_BAD_WRITER = "the file is damaged, or its writer was"


class SafetensorsArchive(MappedArchive):
    """Tensors of one or more safetensors files. Metadata: the strings of `__metadata__`, from the first file."""


def read_safetensors(path: str | os.PathLike[str]) -> SafetensorsArchive:
    """Open a safetensors file, or a folder with `model.safetensors` or with shards and their index.

    Errors: ModelNotFound, FormatError, UnsupportedModel (a dtype that safetensors does not define), CapacityError.
    """
    given = Path(path)
    return read_safetensors_files(given, *_files_of(given))


def read_safetensors_files(given: Path, paths: Sequence[Path], placed: Mapping[str, str]) -> SafetensorsArchive:
    """Open these files as one model; `placed` says in which of them the tensors are to be, if that is known.

    Errors: as `read_safetensors`.
    """
    files: list[MappedFile] = []
    tensors: dict[str, TensorEntry] = {}
    metadata: dict[str, str] = {}
    try:
        for part, file_path in enumerate(paths):
            files.append(MappedFile(file_path))
            strings, entries = _read_header(files[part], part)
            metadata = strings if part == 0 else metadata
            for entry in entries:
                if entry.name in tensors:
                    other = files[tensors[entry.name].part].shown
                    problem = f"{files[part].shown}: tensor {shown(entry.name)} is also in {other}"
                    raise FormatError(problem, hint=_BAD_WRITER)
                tensors[entry.name] = entry
        if placed:
            _check_placed(given, placed, tensors, paths)
        return SafetensorsArchive(given, files, metadata, tensors, _warnings(given, placed, tensors))
    except BaseException:
        for file in files:
            file.close()
        raise


def _files_of(path: Path) -> tuple[list[Path], dict[str, str]]:
    """The files to read, and for shards the file name of each tensor."""
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return [path], {}
    except (OSError, ValueError):
        return [path], {}  # MappedFile says what is wrong
    if os.path.lexists(path / SINGLE_NAME):
        return [path / SINGLE_NAME], {}
    if os.path.lexists(path / INDEX_NAME):
        placed = _read_index(path / INDEX_NAME)
        paths = [path / name for name in sorted(set(placed.values()))]
        for shard in paths:
            if not os.path.lexists(shard):
                raise ModelNotFound(f"{shown(shard)}: this shard of the model is missing", hint="download it")
        return paths, placed
    found = sorted(entry for entry in path.iterdir() if entry.name.endswith(".safetensors"))
    if len(found) == 1:
        return found, {}
    problem = f"{shown(path)}: {len(found)} safetensors files and no {INDEX_NAME}"
    raise FormatError(problem, hint="download the index too, or give one file")


def _read_index(path: Path) -> dict[str, str]:
    """File name of each tensor, only plain names beside the index."""
    name = shown(path)
    file = MappedFile(path)
    if file.size > MAX_INDEX_BYTES:
        raise FormatError(f"{name}: {sized(file.size)}, at most {MAX_INDEX_BYTES} are allowed", hint="is it damaged?")
    content = bytes(file.view)
    file.close()
    index = _parse(content, name)
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise FormatError(f"{name}: no weight_map with tensors", hint="download it again")
    for tensor, shard in placed.items():
        if not plain_name(shard, ".safetensors"):
            problem = f"{name}: tensor {shown(tensor)} is placed in {shown(shard)}"
            raise FormatError(problem, hint="only plain file names in the same folder are allowed")
    if len(set(placed.values())) > MAX_SHARDS:
        raise FormatError(f"{name}: more than {MAX_SHARDS} shards", hint="is it damaged?")
    return placed


def plain_name(name: object, ending: str) -> bool:
    """Whether it names a file with this ending in the same folder, and nothing else."""
    return (
        isinstance(name, str)
        and name.endswith(ending)
        and not name.startswith(".")
        and name.isprintable()
        and not set(name) & set("/\\:")
    )


def _parse(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object, strictly: UTF-8, no key twice, no NaN, no endless nesting or number."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ValueError(f"the key {shown(twice)} appears twice")
        return found

    def constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is no JSON number")

    try:
        parsed = json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except RecursionError:
        raise FormatError(f"{name}: the JSON is nested too deeply", hint=_BAD_WRITER) from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{name}: the JSON is not UTF-8 at byte {error.start}", hint=_BAD_WRITER) from None
    except ValueError as error:
        raise FormatError(f"{name}: not valid JSON: {shown(error)}", hint=_BAD_WRITER) from None
    if not isinstance(parsed, dict):
        raise FormatError(f"{name}: the JSON is no object", hint=_BAD_WRITER)
    return parsed


def _read_header(file: MappedFile, part: int) -> tuple[dict[str, str], list[TensorEntry]]:
    """Strings and tensors of one file, each tensor proved to lie inside it."""
    name = file.shown
    length = struct.unpack_from("<Q", file.view)[0] if file.size >= 8 else 0
    if file.size < 10 or file.view[8] != ord("{"):
        raise wrong_magic(name, bytes(file.view[:HEAD_BYTES]), "a safetensors file")
    if length > MAX_HEADER_BYTES:
        problem = f"{name}: a header of {length} bytes, at most {MAX_HEADER_BYTES} are allowed"
        raise FormatError(problem, hint=_BAD_WRITER)
    if length < 2 or length > file.size - 8:
        raise FormatError(f"{name}: a header of {length} bytes cannot fit the file", hint=_DAMAGED.format(file.size))
    header = _parse(bytes(file.view[8 : 8 + length]), name)
    strings = header.pop("__metadata__", {})
    if not isinstance(strings, dict) or not all(isinstance(value, str) for value in strings.values()):
        raise FormatError(f"{name}: __metadata__ holds more than strings", hint=_BAD_WRITER)
    if len(header) > MAX_TENSORS:
        raise FormatError(f"{name}: {len(header)} tensors, at most {MAX_TENSORS} are allowed", hint=_BAD_WRITER)
    entries = [_entry(name, tensor, value, 8 + length, part) for tensor, value in header.items()]
    _check_layout(file, entries, 8 + length)
    return strings, entries


def _entry(file_name: str, tensor: str, value: Any, base: int, part: int) -> TensorEntry:
    """A tensor of the header, its offsets made absolute."""
    where = f"{file_name}: tensor {shown(tensor)}"
    if not tensor or not tensor.isprintable():
        raise FormatError(f"{where}: this name cannot be printed", hint=_BAD_WRITER)
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{where}: needed are dtype, shape and data_offsets", hint=_BAD_WRITER)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise UnsupportedModel(f"{where} has the unknown dtype {shown(dtype)}", hint="newer than Pacos, or damaged")
    if not _naturals(shape) or len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"{where}: the shape is {shown(shape)}", hint=_BAD_WRITER)
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FormatError(f"{where}: the data_offsets are {shown(offsets)}", hint=_BAD_WRITER)
    total_bits = prod(shape) * bits
    nbytes = offsets[1] - offsets[0]
    if total_bits != nbytes * 8:
        problem = f"{where}: shape {shown(shape)} of {dtype} needs {total_bits // 8} bytes, data_offsets give {nbytes}"
        raise FormatError(problem, hint=_BAD_WRITER)
    return TensorEntry(tensor, tuple(shape), dtype, part, base + offsets[0], nbytes)


def _naturals(values: object) -> bool:
    """Whether it is a list of whole numbers below 2^63, none negative."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _check_layout(file: MappedFile, entries: Sequence[TensorEntry], start: int) -> None:
    """Refuse overlaps, holes, and data that end elsewhere than the file."""
    at = start
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.nbytes)):
        if entry.offset != at:
            what = "overlaps the tensor before" if entry.offset < at else "leaves a hole behind the tensor before"
            problem = f"{file.shown}: tensor {shown(entry.name)} {what}, at byte {entry.offset}"
            raise FormatError(problem, hint=_BAD_WRITER)
        at += entry.nbytes
    if at > file.size:
        problem = f"{file.shown}: the file ends before its tensors do"
        raise FormatError(problem, hint=f"download incomplete? expected {at} bytes, the file has {file.size}")
    if at < file.size:
        problem = f"{file.shown}: {sized(file.size - at)} behind the last tensor belong to nothing"
        raise FormatError(problem, hint=_BAD_WRITER)


def _check_placed(
    folder: Path, placed: Mapping[str, str], tensors: dict[str, TensorEntry], paths: Sequence[Path]
) -> None:
    """Refuse an index that does not agree with the shards."""
    for name, shard in placed.items():
        entry = tensors.get(name)
        if entry is None or paths[entry.part].name != shard:
            problem = f"{shown(folder / shard)}: tensor {shown(name)} is missing, though {INDEX_NAME} places it there"
            raise FormatError(problem, hint="shards of different models? download the folder again")


def _warnings(path: Path, placed: Mapping[str, str], tensors: dict[str, TensorEntry]) -> list[str]:
    """What is odd but usable."""
    warnings = []
    for dtype in sorted({entry.type for entry in tensors.values()} - COMPUTED_DTYPES):
        names = [entry.name for entry in tensors.values() if entry.type == dtype]
        warnings.append(f"{shown(path)}: {len(names)} tensors are {dtype}, which is listed only: {shown(names[0])}")
    if placed and len(placed) != len(tensors):
        extra = len(tensors) - len(placed)
        warnings.append(f"{shown(path)}: {extra} tensors are in the shards but not in {INDEX_NAME}")
    return warnings


def _recognises(head: bytes, path: Path) -> bool:
    """Whether it is a safetensors file, or a folder with some."""
    if head:
        return len(head) > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] <= MAX_HEADER_BYTES
    return any(path.glob("*.safetensors")) or os.path.lexists(path / INDEX_NAME)


CONTAINER = Container("safetensors", _recognises, read_safetensors)
