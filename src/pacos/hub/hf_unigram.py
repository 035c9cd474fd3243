"""A unigram vocabulary of tokenizer.json in GGUF's words.

Source: the `tokenizers` library's JSON format; llama.cpp's conversion for the keys.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.gguf_types import BYTE, UNKNOWN
from pacos.hub.vocabulary import Vocabulary, numbered

_RUNS_OF_SPACES = " {2,}"
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def unigram_vocabulary(path: Path, spec: Mapping[str, Any], size: object) -> Vocabulary:
    """Pieces with scores, and how text is normalised.

    Errors: FormatError; UnsupportedModel for a step of normalising or splitting that we do not take.
    """
    model = spec["model"]
    rows = model.get("vocab")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        raise FormatError(f"{path}: model.vocab must be a list of pairs of piece and score")
    vocabulary = numbered(path, ((row[0], number) for number, row in enumerate(rows)), size)
    vocabulary.scores = [float(score) for _, score in rows]
    vocabulary.scores += [-10000.0] * (len(vocabulary.tokens) - len(rows))
    unknown = model.get("unk_id")
    if isinstance(unknown, int) and 0 <= unknown < len(rows):
        vocabulary.types[unknown] = UNKNOWN
        vocabulary.more["unknown_token_id"] = unknown
    if model.get("byte_fallback"):
        for number, token in enumerate(vocabulary.tokens):
            if token in _BYTES:
                vocabulary.types[number] = BYTE
    charsmap, merge_normalized = _normalizer(path, spec.get("normalizer") or {})
    add_space, merge_split = _splitter(path, spec.get("pre_tokenizer") or {})
    vocabulary.more |= {
        **{"model": "t5", "pre": "default", "add_space_prefix": add_space},
        "remove_extra_whitespaces": merge_normalized or merge_split,
        **({"precompiled_charsmap": array("b", charsmap)} if charsmap else {}),
    }
    return vocabulary


def _normalizer(path: Path, part: Mapping[str, Any]) -> tuple[bytes, bool]:
    """The charsmap, and whether runs of spaces become one."""
    charsmap, merges = b"", False
    for step in _steps(part, "normalizers"):
        kind = step.get("type")
        if kind == "Precompiled":
            try:
                charsmap = base64.b64decode(step.get("precompiled_charsmap") or "", validate=True)
            except (binascii.Error, TypeError) as error:
                raise FormatError(f"{path}: precompiled_charsmap is no base64: {error}") from error
        elif kind == "Replace" and (step.get("pattern") or {}).get("Regex") == _RUNS_OF_SPACES:
            merges = True
        elif kind == "Replace" and (step.get("pattern") or {}).get("String") == " " and step.get("content") == "\u2581":
            continue
        elif kind != "Strip":
            raise UnsupportedModel(f"{path}: the normalizer {_shown(step)} of a unigram model is not supported")
    return charsmap, merges


def _splitter(path: Path, part: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a space is put in front, and whether white space only parts words."""
    add_space = merges = False
    for step in _steps(part, "pretokenizers"):
        kind = step.get("type")
        if kind == "WhitespaceSplit":
            merges = True
        elif kind == "Metaspace":
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            add_space = scheme != "never"
        else:
            raise UnsupportedModel(f"{path}: the pre-tokenizer {_shown(step)} of a unigram model is not supported")
    return add_space, merges


def _steps(part: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    if not part:
        return []
    return [inner for one in part[key] for inner in _steps(one, key)] if part.get("type") == "Sequence" else [part]


def _shown(step: Mapping[str, Any]) -> str:
    return ascii(dict(step))[:120]
