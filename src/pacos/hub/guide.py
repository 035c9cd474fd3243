"""An importance matrix as a quantizer's guide: which tensors it weighs, and what the new file says of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacos.errors import UsageError
from pacos.formats.gguf_types import TypedValue
from pacos.formats.imatrix import ImportanceMatrix, read_imatrix
from pacos.formats.wording import shown
from pacos.types import TensorEntry

_TEXT_BYTES = 127  # of a name in the new file, as llama-quantize keeps it
_EMBEDDING = "token_embd.weight"


@dataclass(frozen=True, slots=True)
class Guide:
    """A matrix, and the file that it came from."""

    path: Path
    matrix: ImportanceMatrix

    @classmethod
    def read(cls, path: str | os.PathLike[str], include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Guide:
        """Read a matrix, and keep of it the tensors in whose names one of `include`, or none of `exclude`, is found.

        Errors: ModelNotFound, FormatError; UsageError when nothing is left.
        """
        matrix = read_imatrix(path)
        kept = {
            name: entry
            for name, entry in matrix.entries.items()
            if not any(part in name for part in exclude) and (not include or any(part in name for part in include))
        }
        if not kept:
            names = ", ".join(list(matrix.entries)[:3])
            raise UsageError(f"{shown(path)}: no tensor is left of {len(matrix.entries)}", hint=f"it has {names}, ...")
        matrix.entries = kept
        return cls(Path(path), matrix)

    def weights_of(self, entry: TensorEntry) -> Any:
        """The importance of a tensor's columns, or None when the matrix does not have it.

        Shapes: [M, K] f32 for M matrices. Errors: UsageError when it was made of another model.
        """
        found = self.matrix.entries.get(entry.name)
        if found is None:
            return None
        columns = entry.shape[-1]
        matrices = entry.shape[0] if len(entry.shape) > 2 else 1
        if len(found.sums) != columns * matrices:
            if entry.name == _EMBEDDING:
                return None
            problem = f"it has {len(found.sums)} columns of {shown(entry.name)}, the model has {columns * matrices}"
            raise UsageError(f"{shown(self.path)}: {problem}", hint="was it made of another model?")
        return found.means().reshape(matrices, columns)

    def metadata(self) -> dict[str, TypedValue]:
        """What the new file says, in llama-quantize's keys."""
        said = {
            "file": TypedValue("STRING", _cut(str(self.path))),
            "dataset": TypedValue("STRING", _cut(self.matrix.datasets[0])) if self.matrix.datasets else None,
            "entries_count": TypedValue("U32", len(self.matrix.entries)),
            "chunks_count": TypedValue("U32", self.matrix.chunks) if self.matrix.chunks > 0 else None,
        }
        return {f"quantize.imatrix.{key}": value for key, value in said.items() if value is not None}


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:_TEXT_BYTES].decode("utf-8", "ignore")
