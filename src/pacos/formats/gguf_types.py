"""Facts of the GGUF format: value types, tensor types with their block sizes, and the limits that Pacos sets.

Source: ggml's gguf specification (ggml/docs/gguf.md) and ggml.h; sizes checked against ggml 0.25.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

MAGIC = b"GGUF"
VERSIONS = (1, 2, 3)
WRITTEN_VERSION = 3
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"

# Limits on what a file may hold; the reader refuses one more, with the limit's value in the message.
MAX_METADATA_KEYS = 65_536
MAX_TENSORS = 262_144
MAX_KEY_BYTES = 65_535
MAX_TENSOR_NAME_BYTES = 64
MAX_STRING_BYTES = 64 << 20
MAX_ARRAY_ELEMENTS = 1 << 26
MAX_BOOL_ARRAY_ELEMENTS = 1 << 20
MAX_METADATA_BYTES = 1 << 30
MAX_DIMENSIONS = 4
MAX_DIMENSION = (1 << 63) - 1
MAX_ALIGNMENT = 1 << 20
MAX_PARTS = 65_535

# Smallest entries that can exist: they cap the counts of the header by the bytes that are there.
MIN_METADATA_ENTRY_BYTES = 8 + 1 + 4 + 1  # key length, a one-letter key, value type, a one-byte value
MIN_TENSOR_ENTRY_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # name length, a letter, dimensions, one size, type, offset


class ValueType(NamedTuple):
    """A metadata value type: its number in the file, bytes of one value, struct and array letter ("" = none)."""

    id: int
    nbytes: int
    letter: str


VALUE_TYPES: dict[str, ValueType] = {
    "U8": ValueType(0, 1, "B"),
    "I8": ValueType(1, 1, "b"),
    "U16": ValueType(2, 2, "H"),
    "I16": ValueType(3, 2, "h"),
    "U32": ValueType(4, 4, "I"),
    "I32": ValueType(5, 4, "i"),
    "F32": ValueType(6, 4, "f"),
    "BOOL": ValueType(7, 1, "?"),
    "STRING": ValueType(8, 8, ""),
    "ARRAY": ValueType(9, 12, ""),
    "U64": ValueType(10, 8, "Q"),
    "I64": ValueType(11, 8, "q"),
    "F64": ValueType(12, 8, "d"),
}
VALUE_TYPE_NAMES: dict[int, str] = {kind.id: name for name, kind in VALUE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A metadata value with the type that it has, or shall have, in the file; a sequence means an array of it."""

    type: str
    value: Any


_Typed = Callable[[Any], TypedValue]
U8: _Typed = partial(TypedValue, "U8")
I8: _Typed = partial(TypedValue, "I8")
U16: _Typed = partial(TypedValue, "U16")
I16: _Typed = partial(TypedValue, "I16")
U32: _Typed = partial(TypedValue, "U32")
I32: _Typed = partial(TypedValue, "I32")
U64: _Typed = partial(TypedValue, "U64")
I64: _Typed = partial(TypedValue, "I64")
F32: _Typed = partial(TypedValue, "F32")
F64: _Typed = partial(TypedValue, "F64")
BOOL: _Typed = partial(TypedValue, "BOOL")
STRING: _Typed = partial(TypedValue, "STRING")


class TensorType(NamedTuple):
    """A tensor type: ggml's name in capitals, weights per block, bytes per block."""

    name: str
    block: int
    block_bytes: int


# Every type that ggml defines today, kernels or not, so that any file can be listed and bounded.
TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 36),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}
TENSOR_TYPE_IDS: dict[str, int] = {kind.name: number for number, kind in TENSOR_TYPES.items()}
TENSOR_TYPES_BY_NAME: dict[str, TensorType] = {kind.name: kind for kind in TENSOR_TYPES.values()}

# Types of tokens, as tokenizer.ggml.token_type lists them.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Numbers that ggml once gave and took back.
REMOVED_TENSOR_TYPES: dict[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
