"""The thread pool: every task once, phases never overlap, from several threads, and after a fork."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator

import pytest

from pacos import native

CREATE = native.function("pacos_pool_create", ctypes.c_void_p, [ctypes.c_int32])
FREE = native.function("pacos_pool_free", None, [ctypes.c_void_p])
EXERCISE = native.function("pacos_pool_exercise", ctypes.c_int64, [ctypes.c_void_p, *[ctypes.c_int64] * 3])


@pytest.fixture(params=[1, 2, 3, 8])
def pool(request: pytest.FixtureRequest) -> Iterator[int]:
    made = CREATE(request.param)
    yield made
    FREE(made)


def expected(phases: int, tasks: int) -> int:
    return phases * tasks * (tasks + 1) // 2 + phases + 1


@pytest.mark.parametrize(
    ("phases", "tasks", "work"), [(0, 5, 0), (1, 1, 0), (3000, 2, 0), (300, 7, 200), (20, 1000, 50)]
)
def test_every_task_runs_once_and_phases_follow_each_other(pool: int, phases: int, tasks: int, work: int) -> None:
    assert EXERCISE(pool, phases, tasks, work) == expected(phases, tasks)


def test_a_pool_that_slept_wakes_up(pool: int) -> None:
    for pause in (0.0, 0.00005, 0.001, 0.02):
        time.sleep(pause)
        assert EXERCISE(pool, 20, 16, 100) == expected(20, 16)


def test_two_callers_share_a_pool(pool: int) -> None:
    results: list[int] = []

    def call() -> None:
        results.extend(EXERCISE(pool, 10, 8, 20) for _ in range(40))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [expected(10, 8)] * 120


def test_pools_come_and_go() -> None:
    for threads in (1, 2, 4) * 20:
        made = CREATE(threads)
        assert EXERCISE(made, 2, 4, 0) == expected(2, 4)
        FREE(made)


def test_tasks_beyond_the_ticket_are_refused(pool: int) -> None:
    assert EXERCISE(pool, 1, 0, 0) == -1
    assert EXERCISE(pool, 1, 1 << 24, 0) == -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_computes_alone(pool: int) -> None:
    assert EXERCISE(pool, 3, 8, 10) == expected(3, 8)

    def child() -> int:
        right = EXERCISE(pool, 50, 8, 10) == expected(50, 8)
        FREE(pool)
        return 0 if right else 1

    assert in_child(child) == 0


def in_child(work: Callable[[], int]) -> int:
    """The exit status of a forked child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of threads; that is what is tested
        sys.stdout.flush()
        number = os.fork()
    if number == 0:
        status = 2
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
