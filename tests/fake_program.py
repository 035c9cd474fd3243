"""A program that obeys the protocol and computes a toy model, so that any mistake with pages shows in its logits.

The "keys and values" of a position are a hash of its token and of what the page of the position before holds. The
logits are pseudo-random numbers made from that hash: right only if every page holds what its sequence put there.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
import zlib
from array import array
from collections.abc import Callable
from collections.abc import Sequence as TokenList
from types import SimpleNamespace
from typing import Any

from patience import SECONDS

from pacos.engine.context import Window
from pacos.engine.engine import Engine
from pacos.engine.identity import Identity
from pacos.engine.sampler import Sampler, SamplerScratch
from pacos.engine.sequence import RowSink, Sequence, SequenceRequest
from pacos.errors import Cancelled, PacosError
from pacos.native import address_of
from pacos.settings import GenerateOptions, QueueOptions, SamplingOptions, read
from pacos.types import PageLayout, Step

V = 48
PAGE_TOKENS = 8
CONTEXT = 96
IDENTITY = Identity("toy", "fake")
GREEDY = SamplingOptions(temp=0)
SAMPLER = Sampler(SamplingOptions(seed=1), SamplerScratch(V))


def mix(token: int, before: int) -> int:
    return zlib.crc32(token.to_bytes(4, "little"), before)


def toy_logits(state: int) -> list[float]:
    return [((state * (2 * i + 1) * 2654435761) >> 20 & 0xFFF) / 512 for i in range(V)]


def expected(prompt: TokenList[int], options: SamplingOptions, count: int) -> list[int]:
    """What a sequence must give, computed without engine, pages or steps."""
    sampler, tokens = Sampler(options, SamplerScratch(V)), array("i", prompt)
    state = 0
    for token in prompt:
        state = mix(token, state)
    for _ in range(count):
        logits = array("f", toy_logits(state))
        tokens.append(sampler.next_token(address_of(logits), tokens))
        state = mix(tokens[-1], state)
    return list(tokens[len(prompt) :])


class FakePages:
    """Pages that hold one number a position; with `slots`, which hold one each, the model is recurrent as well."""

    def __init__(self, count: int, slots: int = 0) -> None:
        self.count = count
        self.slots = slots
        self.carried = [-1] * slots
        self.bytes = 8 * count * PAGE_TOKENS
        self.layout = PageLayout(PAGE_TOKENS, (1,), (1,), "F32", "F32", (1,) * bool(slots))
        self.states = [-1] * (count * PAGE_TOKENS)
        self.copies = 0
        self.page_bytes = 8 * PAGE_TOKENS
        self.format = "fake"

    def read(self, page: int) -> bytes:
        return array("q", self.states[page * PAGE_TOKENS : (page + 1) * PAGE_TOKENS]).tobytes()

    def fill(self, page: int, read: Callable[[list[memoryview]], bool]) -> bool:
        data = bytearray(self.page_bytes)
        view = memoryview(data)
        good = read([view[:3], view[3:]])
        self.states[page * PAGE_TOKENS : (page + 1) * PAGE_TOKENS] = array("q", bytes(data))
        return good

    def copy(self, source: int, target: int) -> None:
        size = PAGE_TOKENS
        self.states[target * size : (target + 1) * size] = self.states[source * size : (source + 1) * size]
        self.copies += 1


class FakeProgram:
    """Faults to order: a token that makes the step raise, one that makes logits NaN; `gate` holds steps back.

    The step of number `hold_at` closes the gate, and tells so by `held`.
    """

    bytes = 0

    def __init__(self, pages: FakePages, max_tokens: int = 32, result_width: int = V) -> None:
        self.result_width = result_width  # of logits, the first so many
        self.pages = pages
        self.max_tokens = max_tokens
        self.steps: list[list[int]] = []  # tokens of each sequence, step by step
        self.raise_token = self.nan_token = -1
        self.gate = threading.Event()
        self.gate.set()
        self.hold_at = -1
        self.held = threading.Event()
        self.stepped = threading.Semaphore(0)
        self.closed = False
        self.cancelled = threading.Event()

    def run(self, step: Step) -> memoryview:
        if len(self.steps) == self.hold_at and not self.held.is_set():
            self.gate.clear()
            self.held.set()
        self.gate.wait()
        assert not self.closed
        assert 1 <= len(step.tokens) <= self.max_tokens
        if self.cancelled.is_set():
            self.cancelled.clear()
            raise Cancelled("the step was cancelled")
        states = [0] * len(step.tokens)
        starts = step.sequence_starts
        self.steps.append([end - start for start, end in itertools.pairwise(starts)])
        if self.raise_token in step.tokens:
            raise RuntimeError("ordered fault")
        for s, table in enumerate(step.page_tables):
            assert starts[s] < starts[s + 1]
            for t in range(starts[s], starts[s + 1]):
                states[t] = self._append(step.tokens[t], step.positions[t], table)
            if self.pages.slots:
                self._carry(step, s)
        rows = array("f")
        for t in step.outputs:
            found = [math.nan] * V if step.tokens[t] == self.nan_token else toy_logits(states[t])
            rows.extend(found[: self.result_width])
        self.stepped.release()
        return memoryview(rows)

    def _append(self, token: int, position: int, table: TokenList[int]) -> int:
        assert 0 <= token < V
        before = self.pages.states[self._slot(position - 1, table)] if position else 0
        self.pages.states[self._slot(position, table)] = state = mix(token, before)
        return state

    def _carry(self, step: Step, s: int) -> None:
        """The state of a sequence must be what its pages say as well."""
        assert step.states_from is not None
        assert step.states_to is not None
        first, end = step.sequence_starts[s], step.sequence_starts[s + 1]
        state = self.pages.carried[step.states_from[s]] if step.positions[first] else 0
        for token in step.tokens[first:end]:
            state = mix(token, state)
        self.pages.carried[step.states_to[s]] = state
        assert state == self.pages.states[self._slot(step.positions[end - 1], step.page_tables[s])]

    @staticmethod
    def _slot(position: int, table: TokenList[int]) -> int:
        return table[position // PAGE_TOKENS] * PAGE_TOKENS + position % PAGE_TOKENS

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.closed = True

    @property
    def tokens_run(self) -> int:
        return sum(sum(step) for step in self.steps)


def null_program(vocab_size: int = 8) -> SimpleNamespace:
    """A program that costs nothing, to measure what surrounds it."""
    logits = memoryview(array("f", [0.0] * vocab_size * 64))
    return SimpleNamespace(
        bytes=0, result_width=vocab_size, max_tokens=512, close=lambda: None, cancel=lambda: None,
        run=lambda step: logits[: len(step.outputs) * vocab_size],
    )  # fmt: skip


def request(prompt: list[int], sampling: SamplingOptions = GREEDY, **options: Any) -> SequenceRequest:
    """A request with fields of GenerateOptions and QueueOptions."""
    ends = options.pop("end_ids", frozenset())
    generate, queue = read((GenerateOptions, QueueOptions), options)
    return SequenceRequest(prompt, sampling, generate, ends, queue=queue)


def sequence_of(prompt: list[int], *, context: int = 1000, sink: RowSink | None = None, **options: Any) -> Sequence:
    """A sequence for a scheduler alone."""
    asked = request(prompt, **options)
    sampler = SAMPLER if sink is None else None
    return Sequence(asked, window=Window(context, asked.generate), sampler=sampler, sink=sink)


class Toy:
    """An engine over the toy program, with what tests look at."""

    def __init__(
        self,
        pages: int = 64,
        context: int = CONTEXT,
        max_tokens: int = 32,
        places: int = 0,
        cache: Any = None,
        identity: Identity = IDENTITY,
        slots: int = 0,
    ) -> None:
        self.pages = FakePages(pages, slots)
        self.program = FakeProgram(self.pages, max_tokens)
        made = cache(self.pages) if cache is not None else None
        self.engine = Engine(
            self.program, self.pages, context, queue_places=places, prompt_cache=made, identity=lambda: identity
        )

    def submit(self, prompt: list[int], sampling: SamplingOptions = GREEDY, **options: Any) -> Sequence:
        return self.engine.submit(request(prompt, sampling, **options))

    def settled(self) -> None:
        """Wait until nothing runs, then prove that every page and every slot came back."""
        scheduler, deadline = self.engine._scheduler, time.monotonic() + SECONDS
        while True:  # the engine's thread may be between a sequence's end and the return of its pages
            try:
                assert scheduler.idle
                self.engine.pool.check([])
                if scheduler.states is not None:
                    scheduler.states.check([])
            except (AssertionError, PacosError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            else:
                return


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return random.Random(f"{seed}").choices(range(V), k=length)
