"""Closing, cancelling and forking at any moment: nothing waits for ever, nothing runs over memory that is gone."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_program import GREEDY, Toy, expected, prompt_of
from held_archive import HeldArchive
from patience import SECONDS

import pacos
from pacos.backends.cpu import CpuWeights
from pacos.backends.reference import ReferenceProgram
from pacos.errors import Cancelled, UsageError
from pacos.llm import LLM


class SlowToy(Toy):
    """Steps last until they are cancelled, as long as `slow`; `waited` says for each whether it was."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = True
        self.waited: list[bool] = []
        self.running = threading.Event()
        run = self.program.run

        def slowly(step: Any) -> Any:
            self.running.set()
            if self.slow:
                self.waited.append(self.program.cancelled.wait(SECONDS))
            return run(step)

        self.program.run = slowly  # type: ignore[method-assign]


def test_close_ends_a_long_step() -> None:
    toy = SlowToy()
    sequence = toy.submit(prompt_of(30))
    assert toy.running.wait(SECONDS)
    toy.engine.close()
    assert toy.waited == [True]
    assert toy.program.closed
    with pytest.raises(Cancelled):
        sequence.wait()


def test_cancelling_the_only_sequence_ends_a_long_step() -> None:
    toy = SlowToy()
    sequence = toy.submit(prompt_of(30))
    assert toy.running.wait(SECONDS)
    toy.slow = False
    sequence.cancel()
    assert [event.finish_reason for event in sequence.events()] == ["cancelled"]
    assert toy.waited == [True]
    assert toy.submit(prompt_of(9), n_predict=4).wait() == expected(prompt_of(9), GREEDY, 4)
    toy.settled()
    toy.engine.close()


def test_a_late_cancel_harms_nobody() -> None:
    """One that the program notices only in the next step, which is others'."""
    toy = Toy()
    toy.program.gate.clear()
    sequences = [toy.submit(prompt_of(5 + n, seed=n), n_predict=20) for n in range(3)]
    toy.program.cancel()
    toy.program.gate.set()
    for n, sequence in enumerate(sequences):
        assert sequence.wait() == expected(prompt_of(5 + n, seed=n), GREEDY, 20)
    toy.settled()
    toy.engine.close()


def test_a_cancelled_sequence_beside_others_does_not_end_their_step() -> None:
    toy = Toy()
    toy.program.gate.clear()
    other, sequence = (toy.submit(prompt_of(10, seed=n), n_predict=20) for n in range(2))
    sequence.cancel()
    toy.program.gate.set()
    assert other.wait() == expected(prompt_of(10), GREEDY, 20)
    toy.settled()
    toy.engine.close()


def test_every_close_waits_until_the_step_is_over() -> None:
    """The file goes only then, also when the second closes while the first still waits."""
    toy = SlowToy()
    gone_early: list[bool] = []
    archive = SimpleNamespace(close=lambda: gone_early.append(not toy.program.closed))
    opened = LLM.__new__(LLM)
    opened.__dict__.update(archive=archive, _engine=toy.engine)
    toy.program.gate.clear()
    toy.submit(prompt_of(30))
    assert toy.running.wait(SECONDS)
    closers = [threading.Thread(target=opened.close) for _ in range(2)]
    for closer in closers:
        closer.start()
        time.sleep(0.02)
    assert all(closer.is_alive() for closer in closers)
    toy.program.gate.set()
    for closer in closers:
        closer.join(SECONDS)
    assert gone_early == [False, False]


def test_weights_outlive_their_archive() -> None:
    archive = HeldArchive({"w": np.ones((2, 32), np.float32)})
    held = archive._bytes["w"]
    references = sys.getrefcount(held)
    weights = CpuWeights(archive, ("w",))
    assert sys.getrefcount(held) == references + 1
    assert weights.bytes == 256


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_and_can_leave() -> None:
    with pacos.load("storyteller", threads=1) as llm:
        llm.generate("Once", n_predict=1)
        child = os.fork()
        if child == 0:
            told = 0
            for call in (lambda: llm.generate("Once", n_predict=1), lambda: llm.log_probabilities([1, 2])):
                try:
                    call()
                except UsageError as error:
                    told += "another process" in str(error) and "after the fork" in str(error)
            llm.close()
            os._exit(told)
        deadline = time.monotonic() + SECONDS
        found = os.waitpid(child, os.WNOHANG)
        while found[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
            found = os.waitpid(child, os.WNOHANG)
        if found[0] == 0:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert (found[0], os.waitstatus_to_exitcode(found[1])) == (child, 2)
        assert llm.generate("Once", n_predict=2).token_ids


def test_the_reference_program_can_be_cancelled() -> None:
    node = SimpleNamespace()
    plan: Any = SimpleNamespace(values=[SimpleNamespace(kind="node", name="", shape=(1, 4))], result=0, nodes=[node])
    program = ReferenceProgram(plan, None, None, 8)  # type: ignore[arg-type]
    program.cancel()
    with pytest.raises(Cancelled):
        program.run(SimpleNamespace(tokens=[1]))  # type: ignore[arg-type]
    assert not program._cancelled


def test_what_needs_numpy_says_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pacos.load("storyteller", threads=1) as llm:
        monkeypatch.setitem(sys.modules, "numpy", None)
        with pytest.raises(UsageError, match=r"logits\(\) needs numpy.*pacos\[numpy\]"):
            llm.logits([1, 2])
        with pytest.raises(UsageError, match=r"reference backend needs numpy.*pacos\[numpy\]"):
            pacos.load("storyteller", backend="reference")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda llm: llm.tokenize(5), "5 is no text"),
        (lambda llm: llm.generate(bytearray(b"abcd")), "no list of token ids"),
        (lambda llm: llm.generate({5, 6}), "no list of token ids"),
        (lambda llm: llm.generate({5: 6}), "no list of token ids"),
        (lambda llm: llm.detokenize({5, 6}), "no list of token ids"),
        (lambda llm: pacos.load(None), "None is no model"),
        (lambda llm: pacos.load(b"storyteller"), "is no model"),
        (lambda llm: pacos.load("storyteller", options={"threads": 1}), "LoadOptions"),
    ],
)
def test_values_of_a_wrong_type_are_told(call: Any, words: str) -> None:
    with pacos.load("storyteller", vocab_only=True) as llm, pytest.raises(UsageError, match=words):
        call(llm)
