"""Statistics of importance matrices, in llama-imatrix's terms and numbers.

Source: llama.cpp, tools/imatrix/imatrix.cpp (compute_statistics, compute_cossim).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pacos.formats.imatrix import ImportanceMatrix
from pacos.lazy import np

_LAYER = re.compile(r"^(enc\.|dec\.|)blk\.(\d+)\.")
_IDLE = 1e-5  # mean squares up to this count as inactive


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """Of the mean squares of one tensor's inputs: all matrices' that multiplied anything. Shares are 0 to 1."""

    name: str
    layer: int  # -1: of none
    total: float
    least: float
    most: float
    mean: float
    deviation: float
    active: float
    count: int
    entropy: float
    entropy_share: float
    above: float
    cosine: float  # with the layer before; 0 where there is none
    stack: str = ""  # "enc." or "dec." of an encoder-decoder

    def data(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)

    def cells(self) -> tuple[str, ...]:
        """The columns of a table."""
        return (
            f"{self.stack}{self.layer}" if self.layer >= 0 else "-",
            _LAYER.sub("", self.name).removesuffix(".weight"),
            *(f"{self.total:.2f}", f"{self.least:.4f}", f"{self.most:.4f}", f"{self.mean:.2f}"),
            *(f"{self.deviation:.2f}", f"{100 * self.active:.2f}%", str(self.count), f"{self.entropy:.4f}"),
            *(f"{100 * self.entropy_share:.2f}%", f"{100 * self.above:.2f}%", f"{self.cosine:.4f}"),
        )


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """Means over a layer's tensors, each weighted with its columns."""

    layer: int
    total: float
    above: float
    cosine: float
    stack: str = ""

    def data(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)

    def cells(self) -> tuple[str, ...]:
        """The columns of a table."""
        return (f"{self.stack}{self.layer}", f"{self.total:.2f}", f"{100 * self.above:.4f}%", f"{self.cosine:.4f}")


def statistics_of(matrix: ImportanceMatrix) -> list[TensorStatistics]:
    """Of every tensor that anything reached: kind by kind, the largest sums first."""
    found = [one for name in matrix.entries if (one := _of_tensor(matrix, name)) is not None]
    return sorted(found, key=lambda one: (_LAYER.sub(r"\1", one.name), -one.total))


def _of_tensor(matrix: ImportanceMatrix, name: str) -> TensorStatistics | None:
    entry = matrix.entries[name]
    reached = np.repeat(np.array(entry.rows) > 0, len(entry.sums) // len(entry.rows))
    means = entry.means()[reached].astype(np.float64)
    if not len(means):
        return None
    total, mean = float(means.sum()), float(means.mean())
    deviation = math.sqrt(max(0.0, float(np.mean(means * means)) - mean * mean))
    shares = means[means > 0] / total if total > 0 else means[:0]
    entropy = float(-(shares * np.log2(shares)).sum())
    found = _LAYER.match(name)
    return TensorStatistics(
        name=name,
        layer=int(found[2]) if found else -1,
        total=total,
        least=float(means.min()),
        most=float(means.max()),
        mean=mean,
        deviation=deviation,
        active=float(np.mean(means > _IDLE)),
        count=len(means),
        entropy=entropy,
        entropy_share=entropy / math.log2(len(means)) if len(means) > 1 else 0.0,
        above=float(np.mean((means - mean) / deviation > 1)) if deviation > 0 else 0.0,
        cosine=_cosine(matrix, name, int(found[2]) - 1) if found else 0.0,
        stack=found[1] if found else "",
    )


def _cosine(matrix: ImportanceMatrix, name: str, before: int) -> float:
    other = matrix.entries.get(_LAYER.sub(rf"\g<1>blk.{before}.", name))
    mine = matrix.entries[name].sums.astype(np.float64)
    if other is None or len(other.sums) != len(mine):
        return 0.0
    theirs = other.sums.astype(np.float64)
    size = math.sqrt(float(mine @ mine) * float(theirs @ theirs))
    return float(mine @ theirs) / size if size else 0.0


def layers_of(tensors: Sequence[TensorStatistics]) -> list[LayerStatistics]:
    """Of every layer, in order."""
    made = []
    for stack, layer in sorted({(one.stack, one.layer) for one in tensors if one.layer >= 0}):
        mine = [one for one in tensors if (one.stack, one.layer) == (stack, layer)]
        count = sum(one.count for one in mine)
        totals, above, cosines = (
            sum(one.count * value for one, value in zip(mine, values, strict=True)) / count
            for values in zip(*((one.total, one.above, one.cosine) for one in mine), strict=True)
        )
        made.append(LayerStatistics(layer, totals, above, cosines, stack))
    return made
