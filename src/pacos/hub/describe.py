"""The facts of a model file as plain data: what `pacos show` prints and its --json gives."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pacos.errors import ModelError
from pacos.hub.file_types import FILE_TYPE_KEY, file_type_name
from pacos.models import Hparams
from pacos.types import Archive

_SHOWN_ELEMENTS = 8
_SHOWN_CHARACTERS = 200
_ABOUT = ("name", "basename", "organization", "author", "version", "finetune", "size_label", "license", "description")


def describe(archive: Archive) -> dict[str, Any]:
    """Sections "file", "model", "weights", "tokenizer"; what the file does not say is left out.

    Units: parameters and tokens counted, sizes in bytes. A model that cannot run has "problem" in its section.
    """
    metadata = archive.metadata
    warnings = list(getattr(archive, "warnings", ()))
    about = {key: metadata[f"general.{key}"] for key in _ABOUT if isinstance(metadata.get(f"general.{key}"), str)}
    return {
        "file": {
            "path": str(archive.path),
            "format": "GGUF" if archive.path.is_file() else "Hugging Face folder",
            "bytes": sum(entry.nbytes for entry in archive.tensors.values()),
            **({"warnings": warnings} if warnings else {}),
        },
        "model": {**about, "architecture": metadata.get("general.architecture"), **_form(archive)},
        "weights": _weights(archive),
        "tokenizer": _tokenizer(metadata),
    }


def metadata_rows(archive: Archive) -> list[tuple[str, str]]:
    """Every key with its value, long ones cut."""
    return [(key, shown(value)) for key, value in archive.metadata.items()]


def tensor_rows(archive: Archive) -> list[tuple[str, tuple[int, ...], str, int]]:
    """Name, shape (rows first), type and bytes of every tensor."""
    return [(entry.name, entry.shape, entry.type, entry.nbytes) for entry in archive.tensors.values()]


def shown(value: Any) -> str:
    """A metadata value on one line."""
    if isinstance(value, str):
        text = ascii(value)[1:-1] if not value.isprintable() else value
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(value)} characters)"
    if isinstance(value, Sequence | array):
        first = ", ".join(shown(value[i]) for i in range(min(len(value), _SHOWN_ELEMENTS)))
        return f"[{first}]" if len(value) <= _SHOWN_ELEMENTS else f"[{first}, ...] ({len(value)} values)"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _form(archive: Archive) -> dict[str, Any]:
    if not archive.tensors:
        return {"problem": "the file holds a vocabulary alone"}
    try:
        hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    except ModelError as error:
        return {"problem": str(error)}
    windows = sorted({window for window in hp.windows if window})
    return {
        "context_tokens": hp.context_length,
        "layers": hp.layers,
        "width": hp.width,
        "heads": _one_or_all(hp.heads),
        "key_heads": _one_or_all(hp.key_heads),
        "head_width": hp.head_width,
        "hidden": _one_or_all(hp.hidden),
        "vocabulary": hp.vocab_size,
        "positions": "learned" if hp.positions else f"rotary {str(hp.rope).strip('<>')}",
        **({"window_tokens": windows[0], "layers_with_window": sum(map(bool, hp.windows))} if windows else {}),
    }


def _one_or_all(values: Sequence[int]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else list(values)


def _weights(archive: Archive) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    for entry in archive.tensors.values():
        counts[entry.type] += math.prod(entry.shape)
        nbytes[entry.type] += entry.nbytes
    total = sum(counts.values())
    kind = archive.metadata.get(FILE_TYPE_KEY)
    return {
        **({"file_type": file_type_name(kind)} if kind is not None else {}),
        "tensors": len(archive.tensors),
        "parameters": total,
        "bits_per_weight": round(8 * sum(nbytes.values()) / total, 2) if total else 0.0,
        "types": {name: {"parameters": counts[name], "bytes": nbytes[name]} for name in sorted(counts)},
    }


def _tokenizer(metadata: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "tokenizer.ggml."
    tokens = metadata.get(prefix + "tokens")
    size = len(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str) else 0
    found: dict[str, Any] = {"model": metadata.get(prefix + "model"), "tokens": size}
    if prefix + "pre" in metadata:
        found["splitter"] = metadata[prefix + "pre"]
    for key, number in metadata.items():
        if key.startswith(prefix) and key.endswith("_token_id") and isinstance(number, int) and 0 <= number < size:
            name = key.removeprefix(prefix).removesuffix("_token_id")
            found[name] = {"id": number, "text": shown(tokens[number]) if tokens is not None else ""}
    found["chat_template"] = bool(metadata.get("tokenizer.chat_template"))
    return found
