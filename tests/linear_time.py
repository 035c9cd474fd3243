"""Whether work on text takes linear time, on a machine where other programs run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

RATIO_MAX = 3.0


def quickest(work: Callable[[], object], runs: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """The shortest of several runs, in processor time: other programs slow down the rest."""
    best = math.inf
    for _ in range(runs):
        start = clock()
        work()
        best = min(best, clock() - start)
    return best


def assert_linear(work: Callable[[bytes], object], run: str, size_bytes: int) -> None:
    """time(2 n) <= 3 time(n), in the best of a few attempts on a busy machine; quadratic is 4.

    The goal is 2.3, which caches and page faults break now and then: 2.4 to 2.6 was measured from 50 kB to 100 kB.

    Sizes are such that the buffers of both are large for the allocator.
    """
    data = (run * (2 * (size_bytes // len(run.encode())))).encode()
    size = len(data) // 2
    ratio = 9.0
    for _ in range(12):
        ratio = min(ratio, (quickest(lambda: work(data)) + 1e-5) / (quickest(lambda: work(data[:size])) + 1e-5))
        if ratio <= RATIO_MAX:
            return
    assert ratio <= RATIO_MAX, f"{run!r}: twice the text takes {ratio:.2f} times as long"
