"""What callers may give as a prompt: text or token ids."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.llm import LLM
    from pacos.text.tokenizer import Tokenizer

Prompt = str | Sequence[int]

_NOT_IN_ORDER = (str, bytes, bytearray, AbstractSet, Mapping)  # arrays and lists have an order of token ids, these not


def token_ids(values: Sequence[int]) -> array[int]:
    """Token ids in an array. Errors: UsageError for anything else."""
    try:
        if isinstance(values, _NOT_IN_ORDER):
            raise TypeError
        return array("i", values)
    except (TypeError, OverflowError):
        raise UsageError(f"{seen(values)} is no list of token ids", hint="give text, or whole numbers") from None


def seen(value: object) -> str:
    """A value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def behind(llm: LLM, before: Sequence[int], text: str, *, parse_special: bool = False) -> list[int]:
    """Token ids of a text behind those of an earlier one, which an encoder-decoder reads as one source."""
    if before and llm.engine.start_token >= 0:
        return [
            *unmarked(before, llm.tokenizer, llm.engine.start_token),
            *llm.tokenize(text, parse_special=parse_special),
        ]
    return [*before, *llm.tokenize(text, add_special=not before, parse_special=parse_special)]


def unmarked(tokens: Sequence[int], tokenizer: Tokenizer, start_token: int) -> list[int]:
    """Tokens that an encoder-decoder has read and written, without the marks where a source ends and a decoder starts.

    Those of other models, whose `start_token` is -1, stay as they are.
    """
    return list(tokens) if start_token < 0 else [one for one in tokens if one not in {start_token, tokenizer.eos}]
