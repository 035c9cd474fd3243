"""Time a program alone: prompt and generation speed as llama-bench takes them, without sampling or text.

Units: tokens per second; depth is the number of tokens already in the cache.
"""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass

from pacos.backends import Pages, Program
from pacos.errors import UsageError
from pacos.types import Step


@dataclass(frozen=True, slots=True)
class Test:
    """One measurement: `tokens` computed at once ("prompt") or one by one ("generate"), `sequences` side by side."""

    kind: str
    tokens: int
    depth: int = 0
    sequences: int = 1


def run_test(program: Program, pages: Pages, test: Test) -> float:
    """Tokens per second of one run, all sequences together; what the cache held is overwritten.

    Errors: UsageError when the pages do not hold depth + tokens of every sequence.
    """
    size = pages.layout.page_tokens
    per_sequence = -(-(test.depth + test.tokens) // size)
    if per_sequence * test.sequences > pages.count:
        raise UsageError(f"{test} needs {per_sequence * test.sequences} pages, there are {pages.count}")
    tables = tuple(array("i", range(s * per_sequence, (s + 1) * per_sequence)) for s in range(test.sequences))
    for table in tables:
        _fill(program, table, 0, test.depth, wanted=False)
    start = time.perf_counter()
    if test.kind == "prompt":
        for table in tables:
            _fill(program, table, test.depth, test.depth + test.tokens, wanted=True)
    else:
        _generate(program, tables, test)
    return test.tokens * test.sequences / (time.perf_counter() - start)


def _token(position: int, vocab_size: int) -> int:
    return (position * 7919 + 1) % vocab_size  # spread over the vocabulary, so that embeddings are not cached


def _fill(program: Program, table: array[int], first: int, last: int, wanted: bool) -> None:
    for begin in range(first, last, program.max_tokens):
        end = min(last, begin + program.max_tokens)
        tokens = array("i", (_token(position, program.vocab_size) for position in range(begin, end)))
        outputs = array("i", [end - begin - 1] if wanted and end == last else [])
        program.run(Step(tokens, array("i", range(begin, end)), array("i", [0, end - begin]), (table,), outputs))


def _generate(program: Program, tables: tuple[array[int], ...], test: Test) -> None:
    count = len(tables)
    starts, outputs = array("i", range(count + 1)), array("i", range(count))
    for position in range(test.depth, test.depth + test.tokens):
        tokens = array("i", (_token(position + s, program.vocab_size) for s in range(count)))
        program.run(Step(tokens, array("i", [position] * count), starts, tables, outputs))
