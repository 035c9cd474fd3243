"""Whether work on text takes linear time, on a machine where other programs run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

GROWTH = 8
RATIO_MAX = 24.0


def quickest(work: Callable[[], object], runs: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """The shortest of several runs, in processor time: other programs slow down the rest."""
    best = math.inf
    for _ in range(runs):
        start = clock()
        work()
        best = min(best, clock() - start)
    return best


def assert_linear(work: Callable[[bytes], object], run: str, size_bytes: int) -> None:
    """time(8 n) <= 24 time(n), in the best of a few attempts on a busy machine; quadratic is 64.

    Linear is 8, but a larger text may leave a cache, and its buffers may cost page faults that the smaller text's do
    not: twice the text was seen to take 3.5 times as long on one machine. Over a factor of 8 both are a constant.
    """
    data = (run * (size_bytes // len(run.encode()))).encode()
    larger = data * GROWTH
    ratio = math.inf
    for _ in range(4):
        ratio = min(ratio, (quickest(lambda: work(larger), 1) + 1e-5) / (quickest(lambda: work(data)) + 1e-5))
        if ratio <= RATIO_MAX:
            return
    assert ratio <= RATIO_MAX, f"{run!r}: {GROWTH} times the text takes {ratio:.2f} times as long"
