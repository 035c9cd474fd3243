"""What callers may give as a prompt: text or token ids."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from pacos.errors import UsageError

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
