"""What a module of this folder declares to be found as a file format: its name, how to recognise it, how to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pacos.types import Archive


@dataclass(frozen=True, slots=True)
class Container:
    """A file format; a module with a `CONTAINER` of this type is found by `open_archive`.

    `recognises(head, path)` gets the first bytes of the file (nothing for a folder) and must not raise.
    """

    name: str
    recognises: Callable[[bytes, Path], bool]
    open: Callable[[Path], Archive]
