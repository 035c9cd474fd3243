"""An archive whose tensors are numpy arrays in memory: what tests give a backend instead of a file."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pacos import quants
from pacos.types import Step, TensorEntry


class HeldArchive:
    """Tensors by name; floats are packed as the type asked for, integers are I32."""

    def __init__(self, arrays: Mapping[str, Any], types: Mapping[str, str] | None = None) -> None:
        self.path = Path("held")
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, TensorEntry] = {}
        self._bytes: dict[str, Any] = {}
        for name, given in arrays.items():
            values = np.asarray(given)
            integer = values.dtype.kind in "iu"
            kind = "I32" if integer else (types or {}).get(name, "F32")
            raw = values.astype(np.int32).tobytes() if integer else quants.quantize(kind, values.astype(np.float32))
            self._bytes[name] = np.frombuffer(bytearray(raw) or bytearray(1), np.uint8)
            self.tensors[name] = TensorEntry(name, values.shape, kind, 0, 0, len(raw))

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor."""
        return memoryview(self._bytes[name])

    def address(self, name: str) -> int:
        """Address of a tensor's first byte."""
        return int(self._bytes[name].ctypes.data)

    def close(self) -> None:
        """Nothing to release."""

    def entries(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """What tracing needs to know of the tensors."""
        return {name: (entry.shape, entry.type) for name, entry in self.tensors.items()}


def make_step(
    sequences: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]], outputs: Sequence[int] | None = None
) -> Step:
    """A step of (tokens, positions, pages) for each sequence; without `outputs` every row is one."""
    tokens = [token for part in sequences for token in part[0]]
    positions = [position for part in sequences for position in part[1]]
    starts = [0, *np.cumsum([len(part[0]) for part in sequences]).tolist()]
    tables = tuple(array("i", part[2]) for part in sequences)
    wanted = range(len(tokens)) if outputs is None else outputs
    return Step(array("i", tokens), array("i", positions), array("i", starts), tables, array("i", wanted))


ONE_TOKEN = make_step([([0], [0], [0])])
