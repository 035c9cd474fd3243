"""SentencePiece's BPE: merges by score, bytes for what is left over (Llama 1 and 2, Gemma 1 to 3, Phi-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary
from pacos.text.token_policy import finite_scores, require_bytes

MODELS = ("llama",)


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """Llama's ids; a text begins with BOS and a space."""
    return Defaults(special={"bos": 1, "eos": 2, "unk": 0}, add_bos=True, add_space=True)


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Check the byte tokens and read the scores."""
    require_bytes(vocabulary, all_of_them=False)
    scores = None
    if facts.metadata.get("tokenizer.ggml.scores") is None:
        facts.warnings.append("the file has no scores for its tokens; text is merged from the left")
    else:
        scores = finite_scores(facts.metadata, vocabulary)
    vocabulary.use_sentencepiece(scores, add_space=facts.add_space, unknown=facts.special.get("unk"))
