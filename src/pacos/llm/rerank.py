"""Ranks: how well documents answer a query, by a model whose head reads both together."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.errors import UsageError
from pacos.llm.embed import compute, fitted, of_input, ranked_row
from pacos.llm.prompt import seen
from pacos.settings import QueueOptions
from pacos.settings.embed import InputOptions

if TYPE_CHECKING:
    from pacos.engine.engine import Engine
    from pacos.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Ranks:
    """Scores of the documents, in their order; higher is better. What range they have is the model's affair."""

    scores: tuple[float, ...]
    token_counts: tuple[int, ...]  # of each document and the query together
    truncated: tuple[int, ...] = ()  # places of the documents that were cut

    def best(self, count: int | None = None) -> list[int]:
        """Places of the documents, the best first; of equal ones the earlier."""
        return sorted(range(len(self.scores)), key=lambda place: -self.scores[place])[:count]


def rerank(
    engine: Engine,
    tokenizer: Tokenizer,
    query: Any,
    documents: Any,
    options: InputOptions,
    queue: QueueOptions,
    *,
    types: bool,
) -> Ranks:
    """Score every pair of the query and a document; they are computed together.

    `types` tell the model's tokens of the one from those of the other.

    Errors: UsageError for a model without a head that ranks; UsageError and ContextFull naming the document.
    """
    from pacos.engine.pooling import PooledRows
    from pacos.models import RANK

    if not isinstance(query, str | bytes):
        raise UsageError(f"the query is {seen(query)}", hint="give text")
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes) or not documents:
        raise UsageError(f"the documents are {seen(documents)}", hint="give a list of texts")
    labels = engine.program_of(RANK).result_width
    inputs, seconds, truncated = [], [], []
    for place, document in enumerate(documents):
        with of_input(place):
            if not isinstance(document, str | bytes):
                raise UsageError(f"{seen(document)} is no text", hint="give str, or bytes of UTF-8")
            first, second = tokenizer.encode_pair(query, document)
            ids, is_cut = fitted(array("i", first + second), tokenizer, engine.context_tokens, options)
        inputs.append(ids)
        seconds.append(len(first))
        truncated += [place] if is_cut else []
    sinks = [PooledRows(ranked_row(engine), len(ids)) for ids in inputs]
    compute(engine, inputs, sinks, RANK, queue, seconds if types else itertools.repeat(0))
    scores = tuple(_score(sink.vector(-1, labels), causal=engine.causal) for sink in sinks)
    return Ranks(scores, tuple(map(len, inputs)), tuple(truncated))


def _score(labels: array[float], *, causal: bool) -> float:
    """The first label's number; of a decoder, whose labels are answers such as yes and no, its probability."""
    if not causal or len(labels) == 1:
        return labels[0]
    top = max(labels)
    return math.exp(labels[0] - top) / sum(math.exp(one - top) for one in labels)
