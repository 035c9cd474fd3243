"""Collect an importance matrix: what each tensor of a model is multiplied with while it reads a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from pacos.engine.observe import Observation
from pacos.errors import FormatError, UsageError
from pacos.formats.imatrix import ImportanceMatrix, from_sums, merged
from pacos.llm import LLM
from pacos.llm.perplexity import parted
from pacos.models import HIDDEN

_LEAST_TOKENS = 4
_OUTPUT = "output.weight"
_LAYER = re.compile(r"((enc|dec)\.)?blk\.")


class Collector:
    """Reads chunks of a text, each from an empty context, beginning with BOS where the model has one.

    An encoder-decoder is watched as `pacos perplexity` scores it: the encoder reads the first half of a chunk, the
    decoder writes the second. `output` counts output.weight too; `scored` measures perplexity on the way.
    """

    def __init__(self, llm: LLM, chunk_tokens: int, *, output: bool = False, scored: bool = True) -> None:
        if not llm.engine.causal:
            problem = "this model is an encoder: it predicts no tokens, and its importance cannot be measured"
            raise UsageError(problem, hint="quantize it without a matrix, to Q4_K_M or more bits")
        if not _LEAST_TOKENS <= chunk_tokens <= llm.context_tokens:
            problem = f"chunks of {chunk_tokens} tokens; {_LEAST_TOKENS} to {llm.context_tokens} are possible"
            raise UsageError(problem, hint="give another --ctx-size")
        self.scores: list[float] = []
        self._llm = llm
        self._chunk_tokens = chunk_tokens
        self._output = output
        self._scored = range(chunk_tokens // 2, chunk_tokens - 1) if scored else range(0)
        self._reads = llm.engine.start_token >= 0
        encoder = llm.engine.program_of(HIDDEN) if self._reads else None
        self._observation = Observation(llm.engine.program, llm.engine.pages, encoder)
        self._open = ExitStack()

    def __enter__(self) -> Collector:
        self._open.enter_context(self._observation)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def chunks(self, tokens: Sequence[int], first: int = 0, most: int = -1) -> list[list[int]]:
        """The whole chunks of a text from number `first` on. Errors: UsageError when there is none."""
        size, vocabulary = self._chunk_tokens, self._llm.tokenizer
        count = len(tokens) // size - first
        if count < 1:
            needed = f"give a text of at least {size * (first + 1)} tokens"
            raise UsageError(f"{len(tokens)} tokens are too few", hint=f"{needed}, or a smaller --ctx-size")
        count = count if most < 0 else min(count, most)
        made = [list(tokens[i * size : (i + 1) * size]) for i in range(first, first + count)]
        if vocabulary.add_bos and vocabulary.bos is not None:
            for chunk in made:
                chunk[0] = vocabulary.bos
        return made

    def read(self, chunk: Sequence[int]) -> None:
        """Compute one chunk. Errors: NumericalError when the model gives no numbers."""
        source: list[int] = []
        tokens, scored = list(chunk), self._scored
        if self._reads:
            source, written = parted(self._llm, tokens, len(tokens) // 2)
            tokens, scored = [*source, *written], self._scored and range(len(source), len(source) + len(written) - 1)
        self.scores += self._observation.run(tokens, scored, all_rows=self._output, source=len(source))

    def matrix(self, dataset: str, before: Sequence[ImportanceMatrix] = ()) -> ImportanceMatrix:
        """What was seen so far, added to matrices of before. Errors: FormatError when it is not all numbers."""
        size = self._chunk_tokens // 2 if self._reads else self._chunk_tokens  # rows that a matrix sees of a chunk
        seen = ImportanceMatrix(datasets=[dataset], chunk_tokens=size)
        for one in self._observation.squares():
            rows = one.rows if one.routed else one.rows[:1]
            for name in one.tensors:
                if not any(rows) or not (_LAYER.match(name) or (self._output and name == _OUTPUT)):
                    continue
                try:
                    entry = from_sums(one.sums, rows)
                except UsageError as error:
                    raise FormatError(f"{name}: {error.message}", hint=error.hint) from None
                if name in seen.entries:
                    seen.entries[name].add(entry)
                else:
                    seen.entries[name] = entry
        return merged([*before, seen], size)
