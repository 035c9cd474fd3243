"""Byte-pair encoding by ranked merges: GPT-2's byte level and its descendants, Gemma 4 and Jina's on plain UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.errors import FormatError
from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary, PackedStrings
from pacos.text.splitters import Splitter, find_splitter
from pacos.text.token_policy import flag

MODELS = ("gpt2", "gemma4", "whitespace")

# PACOS_BPE_* of pacos.h
_BYTE_LEVEL, _WHOLE_WORDS, _ESCAPE_SPACES, _NEWLINE_PIECES, _DROP_SPACES, _LOWER = 1, 2, 4, 8, 16, 32
_WITHOUT_MERGES = ("kimi-k2",)
_MAX_MERGES = 10_000_000  # exclusive


def _splitter(metadata: Mapping[str, Any]) -> tuple[str, Splitter]:
    if metadata.get("tokenizer.ggml.model") == "gemma4":
        return "gemma4", find_splitter("gemma4")
    name = metadata.get("tokenizer.ggml.pre", "default") or "default"
    if not isinstance(name, str):
        raise FormatError(f"tokenizer.ggml.pre is {name!r}, a name is needed")
    return name, find_splitter(name)


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """GPT-2's ids; the flags of the family."""
    name, splitter = _splitter(metadata)
    special = {} if metadata.get("tokenizer.ggml.model") == "gemma4" else {"bos": 11, "eos": 11}
    if not splitter.default_bos:
        special.pop("bos", None)
    warnings: tuple[str, ...] = ()
    if not metadata.get("tokenizer.ggml.pre") and name == "default":
        warnings = ("the file does not name its pre-tokenizer; 'default' is used, which may cost quality",)
    return Defaults(
        special=special,
        add_bos=splitter.add_bos,
        add_sep=splitter.add_sep,
        force_bos=splitter.newline_pieces,
        warnings=warnings,
    )


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Read the merges and the family's words."""
    name, splitter = _splitter(facts.metadata)
    merges = facts.metadata.get("tokenizer.ggml.merges")
    if merges is None and name not in _WITHOUT_MERGES:
        raise FormatError("the file has a byte-pair vocabulary without tokenizer.ggml.merges")
    packed = PackedStrings("tokenizer.ggml.merges", merges if merges is not None else [])
    if packed.count >= _MAX_MERGES:
        raise FormatError(f"tokenizer.ggml.merges has {packed.count} entries, fewer than {_MAX_MERGES} are allowed")
    flags = (
        _BYTE_LEVEL * splitter.byte_level
        | _WHOLE_WORDS * splitter.whole_words
        | _ESCAPE_SPACES * splitter.escape_spaces
        | _NEWLINE_PIECES * splitter.newline_pieces
    )
    if facts.metadata.get("tokenizer.ggml.model") == "whitespace":
        flags |= _DROP_SPACES | _LOWER * flag(facts.metadata, "normalizer.lowercase", default=name != "whitespace")
    vocabulary.use_bpe(packed, flags, splitter.expressions)
    if splitter.byte_level:
        missing = [byte for byte, letter in enumerate(byte_alphabet()) if vocabulary.find(letter) is None]
        # These never occur in UTF-8.
        missing = [byte for byte in missing if byte not in {0xC0, 0xC1} and byte < 0xF5]
        if missing:
            facts.warnings.append(f"{len(missing)} byte values have no token (the first is {missing[0]}) and get lost")


def byte_alphabet() -> list[str]:
    """GPT-2's letter for each byte: itself where it can be printed, else the next code point from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
