"""The machine's own limits, measured: what a benchmark's "share of the limit" is a share of."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from pacos import native

_BYTES_PER_THREAD = (64 << 20, 256 << 20)  # beyond any cache, and no more of memory than needed
_BYTES = 1 << 30
_ROUNDS = 20_000_000


@dataclass(frozen=True, slots=True)
class Machine:
    """What some threads of this machine can do together at most.

    Units: bytes and operations per second; a multiplication and an addition are two operations.
    """

    threads: int
    instruction_set: str
    bytes_per_second: float
    int8_operations_per_second: float
    float_operations_per_second: float


def measure(threads: int, isa: str) -> Machine:
    """Measure the limits of an instruction set on that many threads; takes about a second."""
    return Machine(
        threads,
        isa,
        _bandwidth(threads),
        _rate("pacos_machine_int8_rate", threads, isa),
        _rate("pacos_machine_float_rate", threads, isa),
    )


def _bandwidth(threads: int) -> float:
    call = native.function("pacos_machine_bandwidth", ctypes.c_double, [ctypes.c_int32, ctypes.c_int64])
    least, most = _BYTES_PER_THREAD
    return float(call(threads, max(least, min(most, _BYTES // threads))))


def _rate(name: str, threads: int, isa: str) -> float:
    arguments = [ctypes.c_int32, ctypes.c_char_p, ctypes.c_int64]
    call = native.function(name, ctypes.c_double, arguments)
    return float(call(threads, isa.encode(), _ROUNDS))
