"""Read an architecture's metadata: types, ranges and lengths are checked before any arithmetic."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

from pacos.errors import FormatError

_SHOWN_CHARACTERS = 60
_BARE = "xielu."  # llama.cpp writes these keys without the architecture's name


class Keys:
    """Metadata keys of one architecture, their prefix left out; every getter checks the range.

    Errors: FormatError naming the key, the value seen and the values allowed.
    """

    def __init__(self, architecture: str, metadata: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._prefix = f"{architecture}."
        self._metadata = metadata
        self._defaults = defaults

    def name(self, key: str) -> str:
        """The key as the file has it."""
        return key if key.startswith(_BARE) else self._prefix + key

    def get(self, key: str) -> Any:
        """The value as it is, the family's default, or None."""
        return self._metadata.get(self.name(key), self._defaults.get(key))

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def refuse(self, key: str, needed: str) -> FormatError:
        """The error for a key whose value cannot be used."""
        value = self.get(key)
        if value is None:
            return FormatError(f"metadata key {self.name(key)} is missing, needed: {needed}")
        text = ascii(value) if not isinstance(value, list | array) else f"a list of {len(value)}"
        shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
        return FormatError(f"metadata key {self.name(key)} is {shown}, needed: {needed}")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number in [low, high]."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not _is_integer(value) or not low <= value <= high:
            raise self.refuse(key, f"a whole number from {low} to {high}")
        return int(value)

    def number(self, key: str, low: float, high: float, default: float | None = None, *, above: bool = False) -> float:
        """A finite number in [low, high], or in (low, high] when `above`."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not low <= value <= high or (above and value == low):
            raise self.refuse(key, f"a number {'above' if above else 'from'} {low:g} up to {high:g}")
        return float(value)

    def truth(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def per_layer(self, key: str, layers: int, low: int, high: int, default: int | None = None) -> tuple[int, ...]:
        """A whole number for each layer; the file may give one for all, or an array with one for each."""
        value = self.get(key)
        if not isinstance(value, list | tuple | array):
            return (self.integer(key, low, high, default),) * layers
        if len(value) != layers:
            raise self.refuse(key, f"one number, or {layers}, one for each layer")
        if not all(_is_integer(one) and low <= one <= high for one in value):
            raise self.refuse(key, f"whole numbers from {low} to {high}")
        return tuple(int(one) for one in value)

    def per_layer_truth(self, key: str, layers: int) -> tuple[bool, ...]:
        """True or false for each layer; true for all where the file says nothing."""
        value = self.get(key)
        if value is None:
            return (True,) * layers
        if not isinstance(value, list | tuple | array) or len(value) != layers:
            raise self.refuse(key, f"{layers} truth values, one for each layer")
        return tuple(bool(one) for one in value)

    def number_of_layer(self, key: str, layer: int, layers: int, low: float, high: float) -> float:
        """A finite number in [low, high] for one layer; the file gives one for all, or an array with one for each."""
        value = self.get(key)
        if not isinstance(value, list | tuple | array):
            return self.number(key, low, high)
        if len(value) != layers:
            raise self.refuse(key, f"one number, or {layers}, one for each layer")
        one = value[layer]
        if not isinstance(one, int | float) or not low <= one <= high:
            raise self.refuse(key, f"numbers from {low:g} up to {high:g}")
        return float(one)

    def choice(self, key: str, *allowed: str, default: str) -> str:
        """One of some words."""
        value = self.get(key)
        if value is None:
            return default
        if value not in allowed:
            raise self.refuse(key, f"one of {', '.join(allowed)}")
        return str(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
