"""Time a program alone: prompt and generation speed as llama-bench takes them, without sampling or text.

A prompt of an encoder-decoder is a source that its encoder reads; depth, one at least, is a source that was read.
Units: tokens per second and seconds; depth is the number of tokens already in the cache.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pacos.backends import Pages, Program
from pacos.engine.work import StepForm
from pacos.errors import CapacityError
from pacos.types import Step

_COMPUTED_TOKENS = 512  # of a cache before the test; what lies deeper is copied from them, a multiple of every page


@dataclass(frozen=True, slots=True)
class Test:
    """One measurement: `tokens` computed at once ("prompt") or one by one ("generate"), `sequences` side by side."""

    kind: str
    tokens: int
    depth: int = 0
    sequences: int = 1
    __test__: ClassVar[bool] = False  # no test of ours, whatever pytest thinks of the name

    @property
    def name(self) -> str:
        """What llama-bench calls it: pp512, tg128 @ d4096; tg64 x8 are eight sequences together."""
        depth = f" @ d{self.depth}" if self.depth else ""
        sequences = f" x{self.sequences}" if self.sequences > 1 else ""
        return f"{'pp' if self.kind == 'prompt' else 'tg'}{self.tokens}{depth}{sequences}"

    @property
    def all_tokens(self) -> int:
        """Tokens computed, all sequences together."""
        return self.tokens * self.sequences

    def steps(self, max_tokens: int, *, reads: bool = False) -> Iterator[StepForm]:
        """The steps that the test takes on a program of that size; `reads`: of an encoder-decoder."""
        last = self.depth + self.tokens
        if self.kind == "generate":
            source = max(1, self.depth) if reads else 0
            for position in range(source or self.depth, (source or self.depth) + self.tokens):
                yield StepForm(1, position, self.sequences, self.sequences, source)
            return
        if reads:
            for count in _groups(self.sequences, max_tokens // self.tokens):
                yield StepForm(self.tokens, 0, count, 0, self.tokens)
            return
        for count in _groups(self.sequences, max_tokens // self.tokens):
            for begin in range(self.depth, last, max_tokens):
                end = min(last, begin + max_tokens)
                yield StepForm(end - begin, begin, count, count * int(end == last))


def _groups(sequences: int, together: int) -> Iterator[int]:
    """So many sequences in each step."""
    for first in range(0, sequences, max(1, together)):
        yield min(max(1, together), sequences - first)


class TestBed:
    """A program and its pages, laid out for one test after the other; what the pages held is overwritten.

    With an `encoder` that one reads the prompts.
    """

    __test__ = False

    def __init__(self, program: Program, pages: Pages, encoder: Program | None = None) -> None:
        self._program = program
        self._encoder = encoder
        self._pages = pages
        self._sequences = 0
        self._filled = 0

    def seconds(self, test: Test) -> float:
        """Prepare what the test needs in the cache, then run it and give its time.

        Errors: CapacityError when the pages do not hold depth + tokens of every sequence.
        """
        self.prepare(test)
        return self.timed(test)

    def prepare(self, test: Test) -> None:
        """Have `depth` tokens of every sequence in the cache."""
        size = self._pages.layout.page_tokens
        each = self._pages.count // test.sequences
        depth = max(test.depth, int(self._encoder is not None and test.kind == "generate"))
        needed = -(-(depth + test.tokens) // size)
        if needed > each:
            raise CapacityError(
                f"{test.name} needs {needed * test.sequences} pages of {size} tokens, there are {self._pages.count}",
                hint="measure fewer sequences, or at less depth",
            )
        if self._pages.layout.states and test.sequences > self._pages.slots:
            problem = f"{test.name} needs states for {test.sequences} sequences, there are {self._pages.slots}"
            raise CapacityError(problem, hint="measure fewer sequences")
        if test.sequences != self._sequences:
            self._sequences, self._filled = test.sequences, 0
            self._tables = tuple(array("i", range(s * each, (s + 1) * each)) for s in range(test.sequences))
        if self._filled < depth:
            self._fill(depth)
        self._filled = depth  # the test overwrites what comes after

    def program_of(self, test: Test) -> Program:
        """What computes the steps of a test."""
        return self._encoder if self._encoder is not None and test.kind == "prompt" else self._program

    def steps_of(self, test: Test) -> Iterator[StepForm]:
        """The steps that a test takes here."""
        return test.steps(self.program_of(test).max_tokens, reads=self._encoder is not None)

    def timed(self, test: Test) -> float:
        """Seconds of the test alone, after `prepare`."""
        start = time.perf_counter()
        done = 0
        for form in self.steps_of(test):
            self._run(self.program_of(test), self._tables[done : done + form.sequences], form)
            if test.kind == "prompt" and (form.outputs or form.source):
                done += form.sequences
        return time.perf_counter() - start

    def _fill(self, depth: int) -> None:
        """Compute the first tokens of one sequence; copy their pages for deeper positions and other sequences."""
        size, first = self._pages.layout.page_tokens, self._tables[0]
        begin = Test("prompt", min(depth, _COMPUTED_TOKENS))
        for form in self.steps_of(begin):
            self._run(self.program_of(begin), (first,), form)
        pages = -(-depth // size)
        computed = min(pages, _COMPUTED_TOKENS // size)
        for table in self._tables:
            for place in range(pages):
                source = first[place % computed]
                if table[place] != source:
                    self._pages.copy(source, table[place])

    def _run(self, program: Program, tables: tuple[array[int], ...], form: StepForm) -> None:
        """One step of new tokens for these sequences; the last ones have outputs, where the form has any."""
        positions = range(form.depth, form.depth + form.tokens)
        size = self._program.result_width
        tokens = array("i", (_token(position + s, size) for s in range(form.sequences) for position in positions))
        starts = array("i", range(0, form.tokens * form.sequences + 1, form.tokens))
        outputs = array("i", (end - 1 for end in starts[1:])) if form.outputs else array("i")
        slots = array("i", (self._tables.index(table) for table in tables)) if self._pages.layout.states else None
        sources = array("i", (form.source,)) * form.sequences if form.source else None
        positions_of_all = array("i", positions) * form.sequences
        program.run(Step(tokens, positions_of_all, starts, tables, outputs, None, slots, slots, sources))


def _token(position: int, vocab_size: int) -> int:
    return (position * 7919 + 1) % vocab_size  # spread over the vocabulary, so that embeddings are not cached
