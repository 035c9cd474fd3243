"""Quantize matrices as other programs store them, value by value as their packing is published; tests read them back.

Shapes: N outputs, D inputs, G groups. Every packer takes codes [N, D] and gives the tensors of a folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors_builder import build, entry

Tensors = dict[str, tuple[str, np.ndarray]]
_NAMES = {"float32": "F32", "float16": "F16", "int32": "I32", "int64": "I64", "int8": "I8", "uint8": "U8"}
AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # the nibble of each of eight columns


def plain(**arrays: np.ndarray) -> Tensors:
    """Arrays with the dtypes they have."""
    return {name: (_NAMES[str(values.dtype)], values) for name, values in arrays.items()}


def save(folder: Path, tensors: Tensors) -> None:
    """Write model.safetensors, dtypes as given."""
    header: dict[str, Any] = {}
    blob = b""
    for name, (dtype, values) in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = entry(dtype, list(values.shape), len(blob), len(blob) + len(raw))
        blob += raw
    (folder / "model.safetensors").write_bytes(build(header, blob))


def say(folder: Path, **quantization: Any) -> None:
    """Put a quantization_config into config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": quantization}))


def stream(numbers: np.ndarray, width: int) -> np.ndarray:
    """Numbers of so many bits along the last axis as words of 32, low bits first, without gaps."""
    bits = (numbers[..., None] >> np.arange(width) & 1).reshape(*numbers.shape[:-1], -1, 32)
    return (bits << np.arange(32)).sum(axis=-1).astype(np.uint32).view(np.int32)


def gptq(codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray, g_idx: np.ndarray, bits: int, less: int) -> Tensors:
    """Words run down the columns of [D, N]; zeros are stored less `less`. Shapes: zeros and scales [N, G]."""
    qweight, qzeros = stream(codes, bits).T, stream(zeros.T - less, bits)
    arrays = {"qweight": qweight, "qzeros": qzeros, "scales": scales.T, "g_idx": g_idx.astype(np.int32)}
    return plain(**{name: np.ascontiguousarray(values) for name, values in arrays.items()})


def awq(codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray) -> Tensors:
    """Words run along the outputs of [D, N], the eight columns of a word interleaved."""

    def interleaved(rows: np.ndarray) -> np.ndarray:
        nibbles = np.zeros_like(rows)
        for column, place in enumerate(AWQ_PLACES):
            nibbles[:, place::8] = rows[:, column::8]
        return stream(nibbles, 4)

    arrays = {"qweight": interleaved(codes.T), "qzeros": interleaved(zeros.T), "scales": scales.T}
    return plain(**{name: np.ascontiguousarray(values) for name, values in arrays.items()})


def e4m3(byte: int) -> float:
    """The value of an F8_E4M3 byte."""
    sign, exponent, mantissa = (-1 if byte & 128 else 1), byte >> 3 & 15, byte & 7
    if byte & 127 == 127:
        return float("nan")
    return sign * (mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def e5m2(byte: int) -> float:
    """The value of an F8_E5M2 byte that is finite."""
    sign, exponent, mantissa = (-1 if byte & 128 else 1), byte >> 2 & 31, byte & 3
    return sign * (mantissa / 4 * 2.0**-14 if exponent == 0 else (1 + mantissa / 4) * 2.0 ** (exponent - 15))


FOUR_BIT_FLOATS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def mxfp4(random: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks and exponents of a random tensor as gpt-oss has them, and its weights. Shapes: shape, D last."""
    nibbles = random.integers(0, 16, shape)
    exponents = random.integers(120, 125, (*shape[:-1], shape[-1] // 32))
    blocks = (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).reshape(*exponents.shape, 16)
    weights = np.array(FOUR_BIT_FLOATS)[nibbles] * 2.0 ** (exponents.repeat(32, axis=-1) - 127)
    return blocks.astype(np.uint8), exponents.astype(np.uint8), weights.astype(np.float32)
