"""Say in a word how large a model is, as file names do: 8.0B, or 8x7B for experts.

Source: the GGUF specification's naming convention; llama.cpp's converter for how experts count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pacos.types import TensorEntry

_UNITS = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3))


def size_label(tensors: Mapping[str, TensorEntry]) -> str:
    """The number of parameters, of one expert in each place and of all that is shared where there are experts."""
    stacks = [one.shape for name, one in tensors.items() if _is_stack(name, one)]
    shared = sum(math.prod(one.shape) for name, one in tensors.items() if not _is_stack(name, one))
    if not stacks:
        return _rounded(shared)
    each = sum(math.prod(shape[1:]) for shape in stacks)
    return f"{sum(shape[0] for shape in stacks) // len(stacks)}x{_rounded(shared + each)}"


def _is_stack(name: str, entry: TensorEntry) -> bool:
    return "_exps." in name and len(entry.shape) == 3


def _rounded(parameters: int) -> str:
    """Two digits at least."""
    unit, size = next(((unit, size) for unit, size in _UNITS if parameters > size), _UNITS[-1])
    scaled = parameters / size
    digits = len(str(round(scaled)).lstrip("0"))
    return f"{scaled:.{max(0, 2 - digits)}f}{unit}"
