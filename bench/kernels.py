"""Time the matrix kernels of one thread: weight bytes per second for one column, operations per second for many.

Usage: python bench/kernels.py [--isa avx2] [--columns 512] [FORMAT ...]
"""

from __future__ import annotations

import argparse
import ctypes
import time

import numpy as np
from numpy.typing import NDArray

from pacos.native import function
from pacos.quants import block_formats, row_bytes

ROWS, COLUMNS = 4096, 2048
SECONDS = 0.15  # per figure

_address, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_linear = function(
    "pacos_linear",
    _i32,
    [ctypes.c_char_p, _i32, _address, _i64, _i64, _address, _i64, _address, _address, _i32],
)


def seconds(isa: str, type_id: int, weights: NDArray[np.uint8], rows: int, n: int) -> float:
    """Best time of one product of weights [rows, COLUMNS] with n columns."""
    x = np.random.default_rng(0).normal(size=(n, COLUMNS)).astype(np.float32)
    y = np.empty((n, rows), dtype=np.float32)
    best, spent = float("inf"), 0.0
    repeats = max(1, 64 // n)
    while spent < SECONDS:
        before = time.thread_time()  # other programs on the machine do not count
        status = _linear(
            isa.encode(), type_id, weights.ctypes.data, rows, COLUMNS, x.ctypes.data, n, None, y.ctypes.data, repeats
        )
        took = time.thread_time() - before
        if status:
            raise SystemExit(f"pacos_linear failed with {status}")
        best, spent = min(best, took / repeats), spent + took
    return best


def main() -> None:
    """Print one line per format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--isa", default="")
    parser.add_argument("--columns", type=int, nargs="*", default=[2, 4, 8, 512])
    options = parser.parse_args()
    wanted = {name.upper() for name in options.formats}
    for fmt in block_formats():
        if wanted and fmt.name not in wanted:
            continue
        weights = np.random.default_rng(1).integers(0, 256, ROWS * row_bytes(fmt.name, COLUMNS), dtype=np.uint8)
        once = seconds(options.isa, fmt.type_id, weights, ROWS, 1)
        line = f"{fmt.name:5} n=1 {weights.size / once / 1e9:6.1f} GB/s {2 * ROWS * COLUMNS / once / 1e9:6.1f} GOPS"
        for n in options.columns:
            rows = ROWS if n < 64 else 512
            took = seconds(options.isa, fmt.type_id, weights, rows, n)
            line += f"   n={n} {2 * rows * COLUMNS * n / took / 1e9:6.1f} GOPS"
        print(line)


if __name__ == "__main__":
    main()
