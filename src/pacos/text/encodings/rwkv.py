"""RWKV's World tokenizer: the longest piece of the vocabulary at each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary

MODELS = ("rwkv",)


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """Nothing is added to anything."""
    return Defaults(special={})


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Pieces are all that there is; a byte that none begins with is unknown."""
    vocabulary.use_rwkv(unknown=facts.special.get("unk"))
