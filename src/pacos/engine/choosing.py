"""Choose tokens after a step: those of most sequences in one native call, and one by one where somebody asks beside."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from pacos.engine.sampler import Sampler, SamplerScratch
from pacos.engine.scheduler import Part
from pacos.engine.sequence import Sequence
from pacos.types import TokenScore


class SampledRows:
    """The next tokens of several sequences, chosen in one native call: it gives up the GIL once for all of them."""

    def __init__(self, scratch: SamplerScratch) -> None:
        self._scratch = scratch
        self._rows = array("Q")  # pacos_sampling_row, a number a field
        self._tokens = array("i")

    def add(self, sampler: Sampler, logits: int, tokens: array[int]) -> None:
        """Choose for one more sequence from the row of logits at this address; nothing may move until `choose`."""
        where, count = tokens.buffer_info()
        self._rows.extend((sampler.address, logits, where, count, sampler.state_address))

    def choose(self) -> array[int]:
        """The tokens in the order of `add`, each to go through `checked_token`; then begin anew."""
        count = len(self._rows) // 5
        if len(self._tokens) < count:
            self._tokens = array("i", bytes(4 * count))
        rows, out, scratch = self._rows, self._tokens, self._scratch
        scratch.sample_rows(rows.buffer_info()[0], count, scratch.vocab_size, scratch.address, out.buffer_info()[0])
        del rows[:]
        return out


def chosen_together(
    sampled: SampledRows, parts: list[Part], rows: list[int], logits: int, row_bytes: int
) -> Iterator[int]:
    """Tokens of the sequences that ask for nothing beside them, in order; each is to go through `checked_token`."""
    for (sequence, _), row_count in zip(parts, rows, strict=True):
        if row_count and sequence.chosen_together and sequence.sampler is not None:
            sampled.add(sequence.sampler, logits, sequence.text)
        logits += row_count * row_bytes
    return iter(sampled.choose())


def choose(sequence: Sequence, sampler: Sampler, logits: int) -> tuple[int, TokenScore | None]:
    """The next token of one sequence, which its constraint allows, and the score that it asks for.

    Errors: as `Sampler.next_token`; what the constraint raises.
    """
    constraint, count = sequence.constraint, sequence.scores
    mask = constraint.mask() if constraint is not None else None
    score = None
    if sequence.post_sampling_scores and count >= 0:
        token, score = sampler.next_scored(logits, sequence.text, count, mask)
    else:
        token = sampler.next_token(logits, sequence.text, mask)
        score = sampler.score(logits, token, count) if count >= 0 else None
    if constraint is not None:
        constraint.accept(token)
    return token, score
