"""Run chunks of tokens through a program alone, while it adds up the squares of what its matrices are multiplied with.

Shapes: V vocabulary entries.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from types import TracebackType

from pacos.backends import InputSquares, Observed, Pages, Program
from pacos.engine.scoring import ScoredRows
from pacos.errors import UsageError
from pacos.types import Step


class Observation:
    """A program that is watched as long as this is open; nothing else may run it, and what its pages held is lost."""

    def __init__(self, program: Program, pages: Pages) -> None:
        if not isinstance(program, Observed):
            raise UsageError("this backend cannot tell what its matrices are multiplied with", hint="use --backend cpu")
        self._program = program
        self._watched: Observed = program
        self._pages = pages

    def __enter__(self) -> Observation:
        self._watched.observe(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watched.observe(False)

    def run(self, tokens: Sequence[int], scored: range, *, all_rows: bool = False) -> list[float]:
        """Compute a sequence, and give the log-probability of the token after each of the `scored` places.

        `all_rows` has the last matrix see every row, and not those alone that are scored.
        """
        scorer = ScoredRows(tokens, scored)
        size, width = self._pages.layout.page_tokens, self._program.result_width
        table = array("i", range(-(-len(tokens) // size)))
        slots = array("i", (0,)) if self._pages.layout.states else None
        for begin in range(0, len(tokens), self._program.max_tokens):
            end = min(len(tokens), begin + self._program.max_tokens)
            wanted = range(max(begin, scored.start), min(end, scored.stop))
            given = range(begin, end) if all_rows else wanted
            step = Step(
                tokens=array("i", tokens[begin:end]),
                positions=array("i", range(begin, end)),
                sequence_starts=array("i", (0, end - begin)),
                page_tables=(table,),
                outputs=array("i", (place - begin for place in given)),
                states_from=slots,
                states_to=slots,
            )
            rows = self._program.run(step)
            if wanted:
                first = wanted.start - given.start
                scorer.take(rows[first * width : (first + len(wanted)) * width], len(wanted))
        return scorer.scores

    def squares(self) -> list[InputSquares]:
        """The sums so far."""
        return self._watched.squares()
