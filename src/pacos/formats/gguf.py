"""Read GGUF files of version 1 to 3, whole or split, memory-mapped; big-endian ones are turned round in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pacos.errors import FormatError
from pacos.formats import gguf_types as gt
from pacos.formats.container import Container
from pacos.formats.gguf_big_endian import turned
from pacos.formats.gguf_header import Header, read_header
from pacos.formats.gguf_split import part_number, part_paths
from pacos.formats.mapped import MappedArchive, MappedFile
from pacos.formats.wording import shown
from pacos.types import TensorEntry


class GgufArchive(MappedArchive):
    """A GGUF model. Metadata: int, float, bool, str, list of bool, array.array of numbers, StringArray of strings.

    `value_types` gives each key's type in the file ("U32"; of an array, that of its elements).
    """

    def __init__(self, path: Path, files: list[MappedFile], headers: list[Header]) -> None:
        warnings = [warning for header in headers for warning in header.warnings]
        tensors, makers = _by_name(files, headers)
        super().__init__(path, files, headers[0].metadata, tensors, warnings, makers)
        self.version = headers[0].version
        self.format = f"GGUF {self.version}{', big-endian' * headers[0].big_endian}"
        self.alignment = headers[0].alignment
        self.value_types: Mapping[str, str] = headers[0].value_types

    def typed_metadata(self) -> dict[str, gt.TypedValue]:
        """The metadata with its types, as `write_gguf` takes it, for a copy that changes no type."""
        return {key: gt.TypedValue(self.value_types[key], value) for key, value in self.metadata.items()}


def read_gguf(path: str | os.PathLike[str]) -> GgufArchive:
    """Open a GGUF file; of a split model any part may be given, all parts are opened.

    Errors: ModelNotFound, FormatError, UnsupportedModel (a tensor type that ggml does not define), CapacityError.
    """
    given = Path(path)
    files: list[MappedFile] = []
    try:
        files.append(MappedFile(given))
        header = read_header(files[0], 0)
        number, count = part_number(files[0].shown, header.metadata)
        if count == 1:
            return GgufArchive(given, files, [header])
        paths = part_paths(given, number, count)
        first = files.pop()
        first.close()
        files.extend(map(MappedFile, paths))  # one by one: the part that fails leaves the others to be closed
        headers = [read_header(file, index) for index, file in enumerate(files)]
        _check_parts(files, headers)
        return GgufArchive(paths[0], files, headers)
    except BaseException:
        for file in files:
            file.close()
        raise


def _check_parts(files: list[MappedFile], headers: list[Header]) -> None:
    """Refuse parts that do not belong together."""
    first = headers[0].metadata
    for index, (file, header) in enumerate(zip(files, headers, strict=True)):
        number, count = part_number(file.shown, header.metadata)
        if (number, count) != (index, len(files)):
            problem = (
                f"{file.shown}: the header says part {number + 1} of {count}, needed is {index + 1} of {len(files)}"
            )
            raise FormatError(problem, hint="was the file renamed?")
        for key in ("general.architecture", "general.name", "split.tensors.count"):
            if key in header.metadata and header.metadata[key] != first.get(key):
                values = f"{shown(header.metadata[key])}, in the first part {shown(first.get(key))}"
                raise FormatError(f"{file.shown}: {key} is {values}", hint="these parts are of different models")
    total, found = first.get("split.tensors.count"), sum(len(header.tensors) for header in headers)
    if total is not None and total != found:
        problem = f"{files[0].shown}: the {len(files)} parts hold {found} tensors, needed are {shown(total)}"
        raise FormatError(problem, hint="parts of different models?")


def _by_name(
    files: list[MappedFile], headers: list[Header]
) -> tuple[dict[str, TensorEntry], dict[str, Callable[[], bytearray]]]:
    """The tensors of all parts under their names, and what makes those that are big-endian."""
    tensors: dict[str, TensorEntry] = {}
    makers: dict[str, Callable[[], bytearray]] = {}
    owner: dict[str, int] = {}
    for index, (file, header) in enumerate(zip(files, headers, strict=True)):
        for entry in header.tensors:
            if entry.name in tensors:
                problem = f"{file.shown}: tensor {shown(entry.name)} is also in {files[owner[entry.name]].shown}"
                raise FormatError(problem, hint="parts of different models?")
            tensors[entry.name], owner[entry.name] = entry, index
            if header.big_endian:
                tensors[entry.name], makers[entry.name] = turned(file, entry)
    return tensors, makers


CONTAINER = Container("GGUF", lambda head, path: head.startswith(gt.MAGIC), read_gguf)
