"""No tokenizer at all: a model that came without one takes and gives token ids alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary

MODELS = ("no_vocab", "none")


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """Nothing is added to anything."""
    missing = "the model has no tokenizer: it takes token ids alone, no text"
    return Defaults(special={}, takes_text=False, warnings=(missing,))


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Empty texts become no tokens; the tokenizer refuses others."""
    vocabulary.use_sentencepiece(None, add_space=facts.add_space, unknown=None)
