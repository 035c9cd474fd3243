"""A short form of `bench/soak.py`: random requests, random leavers, and no page lost."""

from __future__ import annotations

import subprocess
import sys

import pytest
import soak


@pytest.mark.slow
def test_nothing_is_lost_however_clients_leave() -> None:
    done = subprocess.run(
        [sys.executable, soak.__file__, "--minutes", "0.2", "--interval", "2"],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"/v1/chat/completions 200"' in done.stdout
    assert '"left in the middle"' in done.stdout


def test_lateness_of_the_loop_is_read_from_its_histogram() -> None:
    head = "pacos_event_loop_lag_seconds_bucket"
    text = f'# HELP x\n{head}{{le="0.01"}} 980\n{head}{{le="0.025"}} 990\n{head}{{le="+Inf"}} 1000\n'
    numbers = soak.metrics(text)
    assert [soak.lag_quantile(numbers, share) for share in (0.5, 0.99, 1.0)] == [0.01, 0.025, float("inf")]


def test_what_is_wrong_is_said() -> None:
    whole = {"held": 0.0, "cached": 3.0, "free": 1.0}
    steady, growing = soak.Found(memory=[50.0] * 8), soak.Found(memory=[50.0 + 10 * n for n in range(8)])
    assert soak.verdict(steady, whole, whole) == []
    assert "grew by 40" in soak.verdict(growing, whole, whole)[0]
    assert "pages were" in soak.verdict(steady, whole, {**whole, "held": 1.0})[0]
    assert "pages were" in soak.verdict(steady, whole, {**whole, "free": 0.0})[0]
    steady.failures.append("/completion: 500")
    assert "1 failures" in soak.verdict(steady, whole, whole)[0]
