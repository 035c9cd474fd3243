"""Turn the numbers of a big-endian GGUF file round, in memory: every kernel reads little-endian ones.

Source: what a big-endian machine writes: floats, and the 16-bit fields of block formats, with their high byte first;
codes, packed scales and bit planes are bytes and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pacos.errors import UnsupportedModel
from pacos.formats import gguf_types as gt
from pacos.formats.mapped import MADE_IN_MEMORY, MappedFile
from pacos.formats.wording import shown
from pacos.types import TensorEntry

_NUMBER_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "I16": 2, "I32": 4, "I64": 8}
_FIELDS: dict[str, tuple[int, ...]] = {  # where the 16-bit fields of a block start
    **{"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,), "MXFP4": ()},
    **{"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_XS": (0, 2)},
    **{"TQ1_0": (52,), "TQ2_0": (64,), "NVFP4": ()},
}


def turned(file: MappedFile, entry: TensorEntry) -> tuple[TensorEntry, Callable[[], bytearray]]:
    """The entry of a tensor that is made in memory, and what makes it.

    Errors: UnsupportedModel for a type whose big-endian form nobody writes.
    """
    if entry.type not in _NUMBER_BYTES and entry.type not in _FIELDS:
        problem = f"{file.shown}: tensor {shown(entry.name)} is {entry.type} in a big-endian file"
        raise UnsupportedModel(problem, hint="get the little-endian file of this model")
    raw = file.view[entry.offset : entry.offset + entry.nbytes]
    return replace(entry, part=MADE_IN_MEMORY, offset=0), lambda: little_endian(raw, entry.type)


def little_endian(raw: memoryview, kind: str) -> bytearray:
    """A tensor's bytes with the bytes of every number in the other order."""
    if kind in _NUMBER_BYTES:
        stride = _NUMBER_BYTES[kind]
        pairs = [(at, stride - 1 - at) for at in range(stride // 2)]
    else:
        stride = gt.TENSOR_TYPES_BY_NAME[kind].block_bytes
        pairs = [(at, at + 1) for at in _FIELDS[kind]]
    made = bytearray(raw)
    for one, other in pairs:
        made[one::stride], made[other::stride] = made[other::stride], made[one::stride]
    return made
