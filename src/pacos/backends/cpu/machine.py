"""The machine's own limits, measured: what a benchmark's "share of the limit" is a share of."""

from __future__ import annotations

import ctypes

from pacos import native

_BYTES_PER_THREAD = 256 << 20  # far beyond any cache
_ROUNDS = 20_000_000


def read_bandwidth(threads: int) -> float:
    """Bytes per second that the threads read together from main memory."""
    call = native.function("pacos_machine_bandwidth", ctypes.c_double, [ctypes.c_int32, ctypes.c_int64])
    return float(call(threads, _BYTES_PER_THREAD))


def int8_rate(threads: int, isa: str) -> float:
    """8-bit integer operations per second of an instruction set, on all threads together."""
    arguments = [ctypes.c_int32, ctypes.c_char_p, ctypes.c_int64]
    call = native.function("pacos_machine_int8_rate", ctypes.c_double, arguments)
    return float(call(threads, isa.encode(), _ROUNDS))
