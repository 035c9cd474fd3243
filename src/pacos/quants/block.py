"""Describe one block format: how a run of weights is packed into bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pacos.lazy import np

if TYPE_CHECKING:
    from numpy import float32, uint8
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[float32]
    Bytes: TypeAlias = NDArray[uint8]


@dataclass(frozen=True, slots=True)
class Parts:
    """Blocks taken apart: w = d * scale * code - dmin * minimum, where scales, codes and minimums are whole numbers.

    The kernels multiply the whole numbers exactly and then add floats, once for each d.
    Shapes: codes [N, block]; d and dmin [N, n] f32, one for each run of block / n weights; scales and minimums [N, s],
    s a multiple of n.
    """

    d: Floats
    codes: NDArray[Any]
    scales: NDArray[Any] | None = None
    dmin: Floats | None = None
    minimums: NDArray[Any] | None = None

    def weights(self) -> Floats:
        """Put the parts together, rounding as ggml does. Shapes: [N, block]."""
        step = self._spread(self.d, self.scales)
        values = step[:, :, None] * self.codes.reshape(*step.shape, -1).astype(np.float32)
        if self.dmin is not None:
            values -= self._spread(self.dmin, self.minimums)[:, :, None]
        return values.reshape(self.codes.shape)

    def _spread(self, d: Floats, whole: NDArray[Any] | None) -> Floats:
        if whole is None:
            return d
        product: Floats = d.repeat(whole.shape[1] // d.shape[1], axis=1) * whole.astype(np.float32)
        return product


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """Everything Python knows about a block format; `cpu.hpp` beside it says the same in C++.

    Shapes: dequantize takes blocks [N, block_bytes] u8 and gives [N, block] f32; quantize is its inverse. Formats that
    are multiplied as integers have `split`, and dequantize puts its parts together. Formats that can spend their bits
    where they count have `weighted`, which takes whole rows [R, K] f32 and the importance [R, K] of their columns.
    Those whose search is too long for what is quantized at each token have a `quick` quantize too.
    """

    name: str
    type_id: int  # ggml's number for the type, as stored in GGUF files
    block: int  # weights per block
    block_bytes: int
    dequantize: Callable[[Bytes], Floats]
    quantize: Callable[[Floats], Bytes]
    split: Callable[[Bytes], Parts] | None = None
    weighted: Callable[[Floats, Floats], Bytes] | None = None
    quick: Callable[[Floats], Bytes] | None = None


def integer_format(
    name: str,
    type_id: int,
    block: int,
    block_bytes: int,
    split: Callable[[Bytes], Parts],
    quantize: Callable[[Floats], Bytes],
    weighted: Callable[[Floats, Floats], Bytes] | None = None,
    quick: Callable[[Floats], Bytes] | None = None,
) -> BlockFormat:
    """A format that is described by the parts of its blocks."""

    def dequantize(blocks: Bytes) -> Floats:
        return split(blocks).weights()

    return BlockFormat(name, type_id, block, block_bytes, dequantize, quantize, split, weighted, quick)
