"""Put PyTorch's checkpoints together: a pickle in text form and its storages in a ZIP file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

STORAGES = {"F32": "FloatStorage", "BF16": "BFloat16Storage", "F16": "HalfStorage"}


def global_of(module: str, name: str) -> bytes:
    """The operation that names something."""
    return f"c{module}\n{name}\n".encode()


def storage(kind: str, key: str, count: int) -> bytes:
    """The persistent id of a storage, in the text form of a pickle's operations."""
    return b"((V" + b"storage\n" + global_of("torch", kind) + f"V{key}\nVcpu\nI{count}\ntQ".encode()


def tensor_of(name: str, kind: str, key: str, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A name and a tensor, to stand in a dictionary."""

    def listed(numbers: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(f"I{number}\n".encode() for number in numbers) + b"t"

    head = f"V{name}\n".encode() + global_of("torch._utils", "_rebuild_tensor_v2") + b"("
    inner = storage(kind, key, 1 << 30)[1:]  # one mark is enough
    return head + inner + f"I{start}\n".encode() + listed(shape) + listed(strides) + b"I00\n}tR"


def checkpoint(path: Path, content: bytes, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, data in members.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def whole(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> Path:
    """A checkpoint of tensors, each with its type, shape and bytes."""
    pairs, members = b"", {}
    for i, (name, (kind, shape, data)) in enumerate(tensors.items()):
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        pairs += tensor_of(name, STORAGES[kind], str(i), 0, shape, strides)
        members[str(i)] = data
    return checkpoint(path, b"}(" + pairs + b"u.", members)
