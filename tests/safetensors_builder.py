"""Put safetensors files together byte by byte, honest or hostile."""

from __future__ import annotations

import json
import struct
from typing import Any


def entry(dtype: str, shape: list[Any], start: Any, end: Any) -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def build(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header (an object, or the bytes themselves) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


SOUND = {"a": entry("F32", [2, 3], 0, 24), "b": entry("BF16", [4], 24, 32), "__metadata__": {"format": "pt"}}
DATA = bytes(range(32))
