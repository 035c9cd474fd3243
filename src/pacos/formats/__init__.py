"""Model files: names, shapes, bytes and metadata, whatever the container.

A format is a module of this folder with a `CONTAINER`; `open_archive` finds it, so that no list has to be edited.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pacos.errors import FormatError
from pacos.formats.container import Container
from pacos.formats.foreign import HEAD_BYTES, wrong_magic
from pacos.formats.mapped import MappedFile
from pacos.formats.wording import shown
from pacos.types import Archive

__all__ = ["Container", "containers", "open_archive"]


@functools.cache
def containers() -> tuple[Container, ...]:
    """Every format that Pacos reads; the first by far the most frequent."""
    return tuple(_each())


def _each() -> Iterator[Container]:
    """As `containers`, imported one after the other, for whoever needs no more after the first."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    for name in sorted(names, key=lambda name: name != "gguf"):
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "CONTAINER"):
            yield module.CONTAINER


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Open the model file or folder at `path`, whatever its format.

    A folder with safetensors gives its tensors under their own names and no GGUF metadata.
    Errors: ModelNotFound, FormatError, UnsupportedModel, CapacityError.
    """
    given = Path(path)
    head = b""
    if not _is_folder(given):
        file = MappedFile(given)
        head = bytes(file.view[:HEAD_BYTES])
        file.close()
    for container in _each():
        if container.recognises(head, given):
            return container.open(given)
    if head:
        raise wrong_magic(shown(given), head, "a model file")
    raise FormatError(f"{shown(given)}: the folder holds no model that can be opened", hint=_folder_hint(given))


def _folder_hint(folder: Path) -> str:
    """What to do instead of giving this folder."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    if files := [name for name in names if name.lower().endswith(".gguf")]:
        return f"give the file itself, for example {shown(folder / files[0])}"
    if files := [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]:
        return f"give the file itself, for example {shown(folder / files[0])}, or the folder with its config.json"
    return f"Pacos reads {', '.join(found.name for found in containers())}"


def _is_folder(path: Path) -> bool:
    """Whether a folder is there; every other answer is left to opening the file."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
