"""Weights that are hard to quantize well, the same on every machine."""

from __future__ import annotations

import numpy as np

TYPES = (
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ1_M", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0"),
    *("MXFP4", "NVFP4", "Q1_0", "Q2_0"),
)
WEIGHTED = (
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
)  # with an importance matrix


def weights() -> np.ndarray:
    """Rows of many kinds, [24, 512] f32: usual ones, with outliers, tiny, constant, of one sign, with empty groups."""
    rng = np.random.default_rng(11)
    x = (rng.standard_normal((24, 512)) * 0.02).astype(np.float32)
    x[4, ::37] *= 30
    x[5] *= np.float32(1e-6)
    x[6] = np.abs(x[6])
    x[7] = -np.abs(x[7])
    x[8] = np.float32(0.5)
    x[9] = 0
    x[10, 64:192] = 0
    x[11, :256] *= np.logspace(-6, 0, 256).astype(np.float32)  # groups too small for the block's scale
    x[12, 5] = 3
    x[13] = np.sign(x[13]) * np.float32(0.01)
    x[14] = np.round(x[14], 2)
    x[15] += np.float32(0.2)
    x[16] *= np.float32(1e-20)
    return x


def importance() -> np.ndarray:
    """How much each column counts, [512] f32: from little to much, with some that nothing reached."""
    rng = np.random.default_rng(12)
    found = np.square(rng.standard_normal(512)).astype(np.float32)
    found[::53] *= 100
    found[7::64] = 0
    return found
