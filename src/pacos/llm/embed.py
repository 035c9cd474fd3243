"""Embeddings: one vector for each input, pooled from the hidden states of its tokens."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacos.errors import Cancelled, ContextFull, FormatError, UsageError
from pacos.lazy import need_numpy, np
from pacos.llm.prompt import Prompt, seen, token_ids
from pacos.settings import QueueOptions
from pacos.settings.embed import POOLINGS, EmbedOptions, InputOptions

if TYPE_CHECKING:
    from pacos.engine.engine import Engine
    from pacos.engine.sequence import RowSink
    from pacos.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What the inputs became, in their order.

    Shapes: each vector is f32 [width]; with pooling "none" an input's vectors lie one after another, [tokens * width].
    """

    vectors: tuple[array[float], ...]
    width: int
    pooling: str
    token_counts: tuple[int, ...]
    truncated: tuple[int, ...] = ()  # places of the inputs that were cut

    def numpy(self) -> Any:
        """All vectors in one array [rows, width]. Errors: UsageError without numpy."""
        need_numpy("Embeddings.numpy()")
        return np.concatenate([np.frombuffer(one, np.float32) for one in self.vectors]).reshape(-1, self.width)


def read_inputs(
    inputs: Prompt | Sequence[Prompt], tokenizer: Tokenizer, context_tokens: int, options: InputOptions
) -> tuple[list[array[int]], tuple[int, ...]]:
    """Token ids of each input, and the places of those that were cut.

    Errors: UsageError for what is no input, ContextFull for one that is too long; both say which.
    """
    texts = _listed(inputs)
    if not texts:
        raise UsageError("there are no inputs", hint="give a text, or a list of texts or token ids")
    found, truncated = [], []
    for place, one in enumerate(texts):
        with of_input(place):
            ids = array("i", tokenizer.encode(one)) if isinstance(one, str | bytes) else token_ids(one)
            if not ids:
                raise UsageError("no tokens", hint="an empty text has none in this model; leave it out")
            ids, is_cut = fitted(ids, tokenizer, context_tokens, options)
        found.append(ids)
        truncated += [place] if is_cut else []
    return found, tuple(truncated)


def fitted(
    ids: array[int], tokenizer: Tokenizer, context_tokens: int, options: InputOptions
) -> tuple[array[int], bool]:
    """An input of at most the tokens that are possible, and whether it was cut; a mark that ends it stays.

    Errors: ContextFull for a longer one that may not be cut.
    """
    limit = min(context_tokens, options.max_length or context_tokens)
    if len(ids) <= limit:
        return ids, False
    if not options.truncate:
        hint = "shorten it, or have it cut (truncate=True, --truncate)"
        raise ContextFull(f"{len(ids)} tokens, at most {limit} are possible", hint=hint)
    ends = limit > 1 and tokenizer.add_eos and ids[-1] == tokenizer.eos
    return (ids[: limit - 1] + ids[-1:] if ends else ids[:limit]), True


def _listed(inputs: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    """One input, or many: a list of whole numbers is one."""
    if isinstance(inputs, str | bytes):
        return [inputs]
    if not isinstance(inputs, Sequence | array):
        raise UsageError(f"{seen(inputs)} is no input", hint="give a text, or a list of texts or token ids")
    return [inputs] if len(inputs) and isinstance(inputs[0], int) else inputs  # type: ignore[list-item, return-value]


@contextmanager
def of_input(place: int) -> Iterator[None]:
    """Have errors say which input they are about."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"input {place}: {error.message}", hint=error.hint) from error


def pooling_of(metadata: Mapping[str, Any], *, causal: bool) -> str:
    """The pooling that the file names; else the mean for an encoder, the last token for others.

    Errors: FormatError for a number that stands for none.
    """
    key = f"{metadata.get('general.architecture')}.pooling_type"
    number = metadata.get(key)
    if number is None or number == -1:
        return "last" if causal else "mean"
    if not isinstance(number, int) or not 0 <= number < len(POOLINGS):
        raise FormatError(f"metadata key {key} is {number!a}, needed: 0 to {len(POOLINGS) - 1} ({', '.join(POOLINGS)})")
    return POOLINGS[number]


def compute(
    engine: Engine,
    inputs: Sequence[array[int]],
    sinks: Sequence[RowSink],
    result: str,
    queue: QueueOptions,
    seconds: Iterable[int] = itertools.repeat(0),
) -> None:
    """Have the rows of a result go to the sinks, all inputs in the same steps where they fit.

    `seconds` are the places where the second of two texts begins. Errors: UsageError naming the input; Cancelled when
    the deadline passed; what makes a sequence fail.
    """
    sequences = []
    try:
        for place, (ids, sink, second) in enumerate(zip(inputs, sinks, seconds, strict=False)):
            with of_input(place):
                sequences.append(engine.submit_rows(ids, sink, result, queue=queue, second=second))
        for sequence in sequences:
            sequence.wait()
            if sequence.finish_reason == "deadline":
                raise Cancelled(f"the deadline of {queue.deadline_seconds:g} seconds passed", hint="give it more time")
    finally:
        for sequence in sequences:
            sequence.cancel()


def embed(
    engine: Engine,
    inputs: Sequence[array[int]],
    pooling: str,
    options: EmbedOptions,
    queue: QueueOptions,
    truncated: tuple[int, ...] = (),
) -> Embeddings:
    """The vectors of token ids. Errors: UsageError for more dimensions than there are; NumericalError."""
    from pacos.engine.pooling import PooledRows
    from pacos.models import HIDDEN, RANK

    ranks = pooling == "rank"
    result = RANK if ranks else HIDDEN
    whole = engine.program_of(result).result_width
    width = options.dimensions or whole
    if width > whole:
        raise UsageError(f"dimensions is {width}", hint=f"vectors of this model have {whole} numbers")
    rows = ranked_row(engine) if ranks else pooling
    sinks = [PooledRows(rows, len(ids)) for ids in inputs]
    compute(engine, inputs, sinks, result, queue)
    vectors = tuple(sink.vector(-1 if ranks else options.normalize, width) for sink in sinks)
    return Embeddings(vectors, width, pooling, tuple(map(len, inputs)), truncated)


def ranked_row(engine: Engine) -> str:
    """The token whose row a head that ranks reads: an encoder's first, else the last, which alone has seen all."""
    return "last" if engine.causal else "cls"
