"""SentencePiece's unigram model: T5 and its kin, and the XLM-R encoders (bge-m3, multilingual-e5)."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from pacos.errors import FormatError
from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary
from pacos.text.token_policy import finite_scores, flag

MODELS = ("t5",)

_CHARSMAP = "tokenizer.ggml.precompiled_charsmap"


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """T5's ids; a text begins with a space and ends with EOS."""
    return Defaults(special={"eos": 1, "unk": 2, "pad": 0}, add_eos=True, add_space=True)


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Read the scores and what characters become."""
    merge_spaces = flag(facts.metadata, "remove_extra_whitespaces", default=False)
    vocabulary.use_unigram(
        finite_scores(facts.metadata, vocabulary),
        _charsmap(facts.metadata.get(_CHARSMAP)),
        add_space=facts.add_space,
        merge_spaces=merge_spaces,
        unknown=facts.special.get("unk"),
    )


def _charsmap(value: Any) -> bytes:
    """The bytes of an array of 8-bit integers, with or without a sign."""
    if value is None:
        return b""
    if not isinstance(value, array) or value.itemsize != 1:
        raise FormatError(f"{_CHARSMAP} is a {type(value).__name__}, an array of 8-bit integers is needed")
    return value.tobytes()
