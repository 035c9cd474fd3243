"""What a GGUF file says in few bytes: its metadata, and its tensors' names and shapes as a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pacos.formats.gguf import read_gguf

_LONG = 16  # of such lists a hash is enough


def of_file(path: Path) -> dict[str, Any]:
    """Metadata by key, and under "tensors" the hash of what they are; leading axes of one are none."""
    with read_gguf(path) as archive:
        found = {key: _short(value) for key, value in archive.metadata.items()}
        tensors = [(name, _plain(one.shape)) for name, one in archive.tensors.items()]
    return {**found, "tensors": _hash(sorted(tensors))}


def _plain(shape: tuple[int, ...]) -> list[int]:
    axes = list(shape)
    while len(axes) > 1 and axes[0] == 1:
        axes.pop(0)
    return axes


def _short(value: Any) -> Any:
    if isinstance(value, (str, bool, int, float)):
        return round(value, 9) if isinstance(value, float) else value
    values = [_short(one) for one in value]
    return values if len(values) <= _LONG else f"{len(values)} values {_hash(values)}"


def _hash(values: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]
