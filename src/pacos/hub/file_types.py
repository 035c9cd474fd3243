"""Types that a whole file can be said to have, by llama.cpp's names and numbers.

Source: llama.h, enum llama_ftype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILE_TYPES: Mapping[str, int] = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ2_XXS": 19,
    "IQ2_XS": 20,
    "Q2_K_S": 21,
    "IQ3_XS": 22,
    "IQ3_XXS": 23,
    "IQ1_S": 24,
    "IQ4_NL": 25,
    "IQ3_S": 26,
    "IQ3_M": 27,
    "IQ2_S": 28,
    "IQ2_M": 29,
    "IQ4_XS": 30,
    "IQ1_M": 31,
    "BF16": 32,
    "TQ1_0": 36,
    "TQ2_0": 37,
    "MXFP4_MOE": 38,
    "NVFP4": 39,
    "Q1_0": 40,
    "Q2_0": 41,
}
FILE_TYPE_KEY = "general.file_type"
QUANTIZATION_VERSION = 2  # ggml's, since 2023-05


def file_type_name(number: Any) -> str:
    """The name of a file type's number, as `pacos show` prints it."""
    names = {value: name for name, value in FILE_TYPES.items()}
    return names.get(number, f"type {number}") if isinstance(number, int) else "unknown"


def file_type_metadata(number: int) -> dict[str, int]:
    """The two keys that a file says its type with."""
    return {FILE_TYPE_KEY: number, "general.quantization_version": QUANTIZATION_VERSION}
