"""Read SentencePiece's model files (tokenizer.model, spiece.model): a protocol buffer of pieces and settings.

Only the fields that a tokenizer needs are read; lengths are checked before anything is copied.
Source: sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pacos.errors import FormatError, UnsupportedModel

FILE_BYTES_MAX = 256 << 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


@dataclass(slots=True)
class SentencePieceModel:
    """Pieces with score and type (GGUF's numbers are the same), and how text is normalised."""

    kind: str = "unigram"
    tokens: list[bytes] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    charsmap: bytes = b""
    add_space: bool = True
    merge_spaces: bool = True


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """The model in a file.

    Errors: FormatError for a damaged file; UnsupportedModel for a kind or setting that changes tokens and is not known.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise FormatError(f"{path}: {path.stat().st_size} bytes, at most {FILE_BYTES_MAX} are read")
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    model = SentencePieceModel()
    try:
        for number, value in _fields(data):
            if number == 1:
                _read_piece(_message(value), model)
            elif number == 2:
                _read_trainer(path, _message(value), model)
            elif number == 3:
                _read_normalizer(path, _message(value), model)
    except (IndexError, TypeError, ValueError, struct.error) as error:
        hint = "download it again"
        raise FormatError(f"{path}: not the form that SentencePiece writes: {error}", hint=hint) from error
    if len(model.tokens) < 2:
        raise FormatError(f"{path}: {len(model.tokens)} pieces, needed are 2 or more", hint="download it again")
    return model


def _read_piece(data: memoryview, model: SentencePieceModel) -> None:
    text, score, kind = b"", 0.0, 1
    for number, value in _fields(data):
        if number == 1:
            text = bytes(_message(value))
        elif number == 2:
            score = struct.unpack("<f", _message(value))[0]
        elif number == 3:
            kind = _number(value)
    if not 1 <= kind <= 6:
        raise ValueError(f"piece {len(model.tokens)} is of type {kind}, known are 1 to 6")
    model.tokens.append(text)
    model.scores.append(score)
    model.types.append(kind)


def _read_trainer(path: Path, data: memoryview, model: SentencePieceModel) -> None:
    for number, value in _fields(data):
        if number == 3:
            kind = _number(value)
            model.kind = _KINDS.get(kind, str(kind))
            if model.kind not in ("unigram", "bpe"):
                hint = "supported: unigram, bpe"
                raise UnsupportedModel(f"{path}: a {model.kind} model is not supported", hint=hint)
        elif number == 24 and _number(value):
            raise UnsupportedModel(f"{path}: spaces at the end of words (treat_whitespace_as_suffix) are not supported")


def _read_normalizer(path: Path, data: memoryview, model: SentencePieceModel) -> None:
    for number, value in _fields(data):
        if number == 2:
            model.charsmap = bytes(_message(value))
        elif number == 3:
            model.add_space = bool(_number(value))
        elif number == 4:
            model.merge_spaces = bool(_number(value))
        elif number == 5 and not _number(value):
            raise UnsupportedModel(f"{path}: spaces that stay spaces (escape_whitespaces false) are not supported")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field: a whole number, or the bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if size > len(data) - at:
            raise ValueError(f"{size} bytes wanted, {len(data) - at} are left")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i in range(_VARINT_BYTES_MAX):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError(f"a number of more than {_VARINT_BYTES_MAX} bytes")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise TypeError(f"{value} where bytes are needed")
    return value


def _number(value: memoryview | int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{len(value)} bytes where a number is needed")
    return value
