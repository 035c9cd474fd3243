"""What an adapter says of single tokens, and whether what it saved of the base is the base's.

Rows that replace some of a table's are a pair as others are: one matrix picks the tokens, the other has what their rows
differ by from the base's.
Source: PEFT's tuners/trainable_tokens: a table that is the output too has the rows in both places.
Shapes: V vocabulary, D model width, n tokens; pairs of the embedding [V, n] and [D, n], the output's [n, D] and [V, n].
"""

from __future__ import annotations

from typing import Any

from pacos import quants
from pacos.errors import FormatError
from pacos.hub.peft_folder import Peft
from pacos.lazy import np
from pacos.models import Hparams
from pacos.models.adapters import EMBEDDING, OUTPUT, Factor, Pair, in_memory
from pacos.types import Archive, TensorEntry

_ALIKE = 0.5  # how far a row may be from another form of itself, in lengths of the row: two bits a weight are nearer


def token_pairs(found: Peft, base: Archive) -> dict[str, Pair]:
    """The pairs of tokens that the adapter has rows for. Errors: FormatError for tokens that the base does not have."""
    tokens = dict(found.tokens)
    tied = OUTPUT not in base.tensors and Hparams.from_metadata(base.metadata, base.tensors).causal
    if tied and EMBEDDING in tokens:
        tokens.setdefault(OUTPUT, tokens[EMBEDDING])
    pairs = {}
    for name, (numbers, rows) in tokens.items():
        if name in found.pairs:
            raise FormatError(f"the adapter has a pair for '{name}' and rows of single tokens", hint="keep one of both")
        entry = base.tensors[name if name in base.tensors else EMBEDDING]
        if max(numbers) >= entry.shape[0] or rows.shape[1] != entry.shape[1]:
            problem = f"the adapter has rows {rows.shape} of tokens up to {max(numbers)}, '{name}' is {entry.shape}"
            raise FormatError(problem, hint="is it an adapter of another model, or of one with more tokens?")
        own = np.concatenate([_rows(base, entry, number, number + 1) for number in numbers])
        picks = np.zeros((entry.shape[0], len(numbers)), np.float32)
        picks[numbers, np.arange(len(numbers))] = 1
        pick, change = in_memory(picks), rows - own
        both = (pick, in_memory(change.T)) if name == EMBEDDING else (in_memory(change), pick)
        pairs[name] = Pair(*both, factor=1.0)
    return pairs


def other_than_base(found: Peft, base: Archive) -> dict[str, Factor]:
    """The tensors saved as the base's own that are not: some row is another one, not the same in another type.

    Such a row is one of a table that was made longer, and trained. Errors: FormatError for another shape.
    """
    others = {}
    for name, one in found.copies.items():
        entry = base.tensors[name if name in base.tensors else EMBEDDING]
        if one.shape != entry.shape:
            problem = f"the adapter was made of a model whose '{name}' is {one.shape}, here it is {entry.shape}"
            raise FormatError(problem, hint="give that model")
        own, saved = _rows(base, entry, 0, entry.shape[0]), quants.dequantize(one.type, one.data, one.shape)
        apart = np.sum(np.square(saved - own), axis=-1)
        if (apart > _ALIKE**2 * np.sum(np.square(saved), axis=-1)).any():
            others[name] = one
    return others


def _rows(base: Archive, entry: TensorEntry, begin: int, end: int) -> Any:
    row_bytes = quants.row_bytes(entry.type, entry.shape[-1])
    data = base.data(entry.name)[begin * row_bytes : end * row_bytes]
    return quants.dequantize(entry.type, data, (end - begin, entry.shape[-1]))
