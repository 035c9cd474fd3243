"""Run chunks of tokens through a program alone, while it adds up the squares of what its matrices are multiplied with.

Shapes: V vocabulary entries.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from types import TracebackType

from pacos.backends import InputSquares, Observed, Pages, Program
from pacos.engine.scoring import ScoredRows
from pacos.errors import UsageError
from pacos.types import Step


class Observation:
    """A program that is watched as long as this is open; nothing else may run it, and what its pages held is lost.

    An `encoder` that reads sources is watched too.
    """

    def __init__(self, program: Program, pages: Pages, encoder: Program | None = None) -> None:
        self._program = program
        self._encoder = encoder
        self._watched = [_watched(one) for one in (encoder, program) if one is not None]
        self._pages = pages

    def __enter__(self) -> Observation:
        for one in self._watched:
            one.observe(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._watched:
            one.observe(False)

    def run(self, tokens: Sequence[int], scored: range, *, all_rows: bool = False, source: int = 0) -> list[float]:
        """Compute a sequence, and give the log-probability of the token after each of the `scored` places.

        The encoder reads the first `source` tokens. `all_rows` has the last matrix see every row, and not those alone
        that are scored.
        """
        scorer = ScoredRows(tokens, scored)
        size, width = self._pages.layout.page_tokens, self._program.result_width
        table = array("i", range(-(-len(tokens) // size)))
        slots = array("i", (0,)) if self._pages.layout.states else None
        sources = array("i", (source,)) if source else None
        ends = [*range(source, len(tokens), self._program.max_tokens), len(tokens)]
        for begin, end in itertools.pairwise([0, *ends] if source else ends):
            program = self._encoder if end <= source and self._encoder is not None else self._program
            wanted = range(max(begin, scored.start), min(end, scored.stop))
            given = range(begin, end) if all_rows and end > source else wanted
            step = Step(
                tokens=array("i", tokens[begin:end]),
                positions=array("i", range(begin, end)),
                sequence_starts=array("i", (0, end - begin)),
                page_tables=(table,),
                outputs=array("i", (place - begin for place in given)),
                states_from=slots,
                states_to=slots,
                sources=sources,
            )
            rows = program.run(step)
            if wanted:
                first = wanted.start - given.start
                scorer.take(rows[first * width : (first + len(wanted)) * width], len(wanted))
        return scorer.scores

    def squares(self) -> list[InputSquares]:
        """The sums so far."""
        return [found for one in self._watched for found in one.squares()]


def _watched(program: Program) -> Observed:
    if not isinstance(program, Observed):
        raise UsageError("this backend cannot tell what its matrices are multiplied with", hint="use --backend cpu")
    return program
