"""Change the metadata of a GGUF file: a new file takes the place of the old one only when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pacos.errors import UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_types import VALUE_TYPES, TypedValue
from pacos.formats.gguf_write import TensorData, write_gguf

_FLOATS = ("F32", "F64")
_REQUIRED = ("general.architecture",)
_OTHER_KINDS = {"str": "STRING", "int": "", "float": "F32"}  # llama.cpp's words; whole numbers get what they need


def edit_metadata(
    source: str | os.PathLike[str],
    changed: Mapping[str, tuple[str, str]],
    removed: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    *,
    replace: bool = False,
) -> int:
    """Set and remove keys, and give the size of the file; without `output` the file itself is replaced.

    `changed` gives for each key the type ("" for the one that the key has, or that the value looks like) and the value
    as text; lists are JSON.
    Errors: UsageError for a key that is not there, a type that does not exist, or a value that it cannot hold.
    """
    with read_gguf(source) as archive:
        if len(archive.parts) > 1:
            raise UsageError(f"{source} is split", hint="`pacos merge` joins its parts")
        metadata = archive.typed_metadata()
        for key in removed:
            if key not in metadata or key in _REQUIRED:
                what = "is needed" if key in _REQUIRED else "is not there"
                raise UsageError(f"key {key!a} {what}", hint="`pacos gguf dump` lists the keys")
            del metadata[key]
        for key, (kind, text) in changed.items():
            metadata[key] = typed_value(key, kind, text, archive.metadata.get(key), archive.value_types.get(key, ""))
        tensors = [
            TensorData(entry.name, entry.shape, entry.type, archive.data(entry.name))
            for entry in archive.tensors.values()
        ]
        return write_gguf(output or Path(source), metadata, tensors, replace=output is None or replace)


def typed_value(key: str, kind: str, text: str, old: Any = None, old_kind: str = "") -> TypedValue:
    """The value that a text stands for, where the key may have another one already.

    Errors: UsageError for a type that does not exist, or a value that it cannot hold.
    """
    kind = _OTHER_KINDS.get(kind.lower(), kind.upper()) or old_kind
    try:
        value: Any = json.loads(text) if kind != "STRING" or text.startswith("[") else text
    except ValueError:
        value = text
    if kind == "":
        first = value[0] if isinstance(value, list) and value else value
        kind = {bool: "BOOL", int: "U32", float: "F32"}.get(type(first), "STRING")
        if kind == "U32" and min(value if isinstance(value, list) else [value]) < 0:
            kind = "I32"
    if kind not in VALUE_TYPES or kind == "ARRAY":
        raise UsageError(f"no value type {kind!a}", hint=f"types: {', '.join(VALUE_TYPES).replace(', ARRAY', '')}")
    listed = isinstance(value, list)
    if old is not None and listed != (not isinstance(old, (str, int, float, bool))):
        raise UsageError(f"{key} is {'one value' if listed else 'a list'}", hint="lists are written as JSON: [1, 2]")
    made = (
        [_value(key, kind, one) for one in value] if listed else _value(key, kind, value if kind != "STRING" else text)
    )
    return TypedValue(kind, made)


def _value(key: str, kind: str, value: Any) -> Any:
    fits = {
        "STRING": isinstance(value, str),
        "BOOL": isinstance(value, bool),
        **dict.fromkeys(_FLOATS, isinstance(value, (int, float)) and not isinstance(value, bool)),
    }.get(kind, isinstance(value, int) and not isinstance(value, bool))
    if not fits:
        raise UsageError(f"{key} is of type {kind}, which {value!a} is not", hint="--type gives another type")
    return float(value) if kind in _FLOATS else value
