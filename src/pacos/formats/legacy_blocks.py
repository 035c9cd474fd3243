"""Blocks of quantised weights as ggml laid them out before GGUF, and how today's are made of them.

Three things changed in 2023: until version 1 of GGJT two neighbours shared a byte, since version 2 code i and code
i + 16 do; until version 2 the scales of Q4_0, Q4_1 and Q8_0 were F32, since version 3 they are F16. Codes are moved
exactly. Scales become F16, which rounds those that are none: by at most 2^-11 of a weight.
Source: ggml.c of llama.cpp at the commits that raised the versions (b9fd7ee of 2023-05-12, 2d5db48 of 2023-05-19).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pacos.lazy import need_numpy, np

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

BLOCK = 32


class OldBlock(NamedTuple):
    """An old layout: `floats` of `float_bytes`, then `fifth_bytes` of fifth bits, then `code_bytes` of codes."""

    float_bytes: int
    floats: int
    fifth_bytes: int
    code_bytes: int
    paired: bool  # neighbours share a byte

    @property
    def nbytes(self) -> int:
        """Bytes of a block."""
        return self.float_bytes * self.floats + self.fifth_bytes + self.code_bytes


def old_block(kind: str, version: int) -> OldBlock | None:
    """How `kind` was laid out in a file of this version of GGJT (0 for GGML and GGMF); None if as today."""
    if version >= 3 or kind not in _FLOATS:
        return None
    wide = kind in ("Q4_0", "Q4_1", "Q8_0")
    paired = version < 2 and kind != "Q8_0"
    if not wide and not paired:
        return None
    fifth = 4 if kind.startswith("Q5") else 0
    return OldBlock(4 if wide else 2, _FLOATS[kind], fifth, 32 if kind == "Q8_0" else 16, paired)


_FLOATS = {"Q4_0": 1, "Q4_1": 2, "Q5_0": 1, "Q5_1": 2, "Q8_0": 1}


def todays_blocks(raw: memoryview, old: OldBlock) -> NDArray[uint8]:
    """The same weights in today's layout.

    Shapes: whole old blocks -> [N, 2 * floats + fifth_bytes + code_bytes] u8.
    """
    need_numpy("this file, from before 2023-05-20, because its weights must be laid out anew,")
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, old.nbytes)
    floats_end = old.float_bytes * old.floats
    codes_start = floats_end + old.fifth_bytes
    floats = blocks[:, :floats_end]
    if old.float_bytes == 4:
        with np.errstate(over="ignore"):  # no scale of a usable model is beyond F16
            floats = np.ascontiguousarray(floats).view("<f4").astype("<f2").view(np.uint8)
    codes = blocks[:, codes_start:]
    if old.paired:
        both = np.stack([codes & 15, codes >> 4], axis=2).reshape(-1, BLOCK)
        codes = both[:, :16] | both[:, 16:] << 4
    made: NDArray[uint8] = np.concatenate([floats, blocks[:, floats_end:codes_start], codes], axis=1)
    return made
