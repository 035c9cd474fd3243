"""PLaMo 2's tokenizer: pieces by rounded scores, bytes for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary
from pacos.text.token_policy import finite_scores, require_bytes

MODELS = ("plamo2",)


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """PLaMo 2's ids."""
    return Defaults(special={"bos": 1, "eos": 2, "unk": 0, "pad": 3})


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Check the byte tokens and read the scores."""
    require_bytes(vocabulary, all_of_them=True)
    vocabulary.use_plamo2(finite_scores(facts.metadata, vocabulary))
