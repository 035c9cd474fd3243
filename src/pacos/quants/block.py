"""Describe one block format: how a run of weights is packed into bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from numpy import float32, uint8
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[float32]
    Bytes: TypeAlias = NDArray[uint8]


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """Everything Python knows about a block format; `cpu.hpp` beside it says the same in C++.

    Shapes: dequantize takes blocks [N, block_bytes] u8 and gives [N, block] f32; quantize is its inverse.
    """

    name: str
    type_id: int  # ggml's number for the type, as stored in GGUF files
    block: int  # weights per block
    block_bytes: int
    dequantize: Callable[[Bytes], Floats]
    quantize: Callable[[Floats], Bytes]
