"""Read PyTorch checkpoints (`.bin`, `.pth`, `.pt` since PyTorch 1.6) without running what they hold.

A checkpoint is a ZIP file of stored, uncompressed members: `data.pkl` describes the tensors, `data/<key>` hold numbers.
Source: torch/serialization.py; the ZIP layout is read by Python's zipfile.
"""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from pacos.errors import FormatError
from pacos.formats.container import Container
from pacos.formats.mapped import MappedArchive, MappedFile
from pacos.formats.pickled import PickledTensor, unpickled
from pacos.formats.safetensors import DTYPE_BITS, MAX_TENSORS
from pacos.formats.wording import shown, sized
from pacos.types import TensorEntry

MAX_PICKLE_BYTES = 256 << 20
_MAX_MEMBERS = 1 << 20
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_CONTAINED = ("module", "model", "state_dict")  # keys under which training programs keep the tensors
_OTHER_ZIP = "PyTorch checkpoints hold a data.pkl; get the model as safetensors or GGUF"


class TorchArchive(MappedArchive):
    """Tensors of one or more PyTorch checkpoints under their own names; no metadata."""


def read_torch(path: str | os.PathLike[str]) -> TorchArchive:
    """Open one checkpoint. Errors: ModelNotFound, FormatError."""
    return read_torch_files(Path(path), [Path(path)])


def read_torch_files(path: Path, files: list[Path]) -> TorchArchive:
    """Open checkpoints that together are the model at `path`.

    Errors: ModelNotFound; FormatError when two of them hold a tensor of the same name.
    """
    mapped: list[MappedFile] = []
    tensors: dict[str, TensorEntry] = {}
    try:
        for part, one in enumerate(files):
            mapped.append(MappedFile(one))
            for entry in _entries(mapped[part], part):
                if entry.name in tensors:
                    where = mapped[tensors[entry.name].part].shown
                    raise FormatError(f"{mapped[part].shown}: tensor {shown(entry.name)} is also in {where}")
                tensors[entry.name] = entry
        return TorchArchive(path, mapped, {}, tensors)
    except BaseException:
        for file in mapped:
            file.close()
        raise


def _entries(file: MappedFile, part: int) -> list[TensorEntry]:
    """The tensors of a checkpoint, each proved to lie inside it."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            root = _root(file, members)
            order = _read(archive, members, f"{root}byteorder", b"little", 16)
            content = _read(archive, members, f"{root}data.pkl", b"", MAX_PICKLE_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise FormatError(f"{file.shown}: the ZIP file is damaged: {shown(error)}", hint="download it again") from None
    if order.strip() != b"little" or sys.byteorder != "little":
        raise FormatError(f"{file.shown}: its numbers are big-endian", hint="save it again on a little-endian machine")
    found = _tensors_in(unpickled(content, file.shown))
    if not found or len(found) > MAX_TENSORS:
        raise FormatError(f"{file.shown}: {len(found)} tensors, needed: 1 to {MAX_TENSORS}", hint=_OTHER_ZIP)
    return [_entry(file, part, name, tensor, members, root) for name, tensor in found.items()]


def _root(file: MappedFile, members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder in the archive in which everything lies, with a slash."""
    pickles = [name for name in members if PurePosixPath(name).name == "data.pkl"]
    if len(pickles) != 1 or len(members) > _MAX_MEMBERS:
        problem = f"{file.shown}: a ZIP file of {len(members)} members, {len(pickles)} of them a data.pkl"
        raise FormatError(problem, hint=_OTHER_ZIP)
    return pickles[0].removesuffix("data.pkl")


def _read(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str, without: bytes, limit: int
) -> bytes:
    if name not in members:
        return without
    if members[name].file_size > limit:
        raise ValueError(f"{name} of {sized(members[name].file_size)}, at most {limit} are allowed")
    return archive.read(name)


def _tensors_in(value: Any) -> dict[str, PickledTensor]:
    """The tensors by name; those of a training program lie in a dictionary of their own."""
    for key in _CONTAINED:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict):
        return {}
    return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, PickledTensor)}


def _entry(
    file: MappedFile, part: int, name: str, tensor: PickledTensor, members: Mapping[str, zipfile.ZipInfo], root: str
) -> TensorEntry:
    where = f"{file.shown}: tensor {shown(name)}"
    kind = tensor.storage.type
    item = DTYPE_BITS[kind] // 8
    count = prod(tensor.shape)
    member = members.get(f"{root}data/{tensor.storage.key}")
    if member is None:
        raise FormatError(f"{where}: its numbers are missing in the ZIP file", hint="download it again")
    if tensor.strides != _contiguous(tensor.shape) and count > 1:
        problem = f"{where} is a view with strides {tensor.strides}, needed are rows one behind the other"
        raise FormatError(problem, hint="save it again with .contiguous(), or as safetensors")
    start, nbytes = tensor.start * item, count * item
    if start + nbytes > min(member.file_size, tensor.storage.numbers * item):
        problem = f"{where} ends at byte {start + nbytes} of {member.file_size}"
        raise FormatError(problem, hint="the file is damaged, or its writer was")
    return TensorEntry(name, tensor.shape, kind, part, _data_start(file, member, where) + start, nbytes)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _data_start(file: MappedFile, member: zipfile.ZipInfo, where: str) -> int:
    """Where a member's bytes start in the file."""
    at = member.header_offset
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise FormatError(
            f"{where}: it lies compressed or encrypted in the ZIP file", hint="save it again with PyTorch"
        )
    if at + _LOCAL_HEADER.size <= file.size:
        magic, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(file.view, at)
        start = at + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if magic == b"PK\x03\x04" and start + member.file_size <= file.size:
            return int(start)
    raise FormatError(f"{where}: its place in the ZIP file passes the end", hint="download it again")


def _recognises(head: bytes, path: Path) -> bool:
    """Whether it is a ZIP file whose first member is a checkpoint's."""
    return head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[:256]


CONTAINER = Container("PyTorch checkpoints", _recognises, read_torch)
