"""SentencePiece's BPE: merges by score, bytes for what is left over (Llama 1 and 2, Gemma 1 to 3, Phi-3)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

from pacos.errors import FormatError
from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary

MODELS = ("llama",)


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """Llama's ids; a text begins with BOS and a space."""
    return Defaults(special={"bos": 1, "eos": 2, "unk": 0}, add_bos=True, add_space=True)


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Check the byte tokens and read the scores."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    missing = [name for name in names if vocabulary.find(name) is None]
    if 0 < len(missing) < len(names):
        raise FormatError(f"the vocabulary has {256 - len(missing)} of 256 byte tokens; {missing[0]} is missing")
    scores = facts.metadata.get("tokenizer.ggml.scores")
    if scores is None:
        facts.warnings.append("the file has no scores for its tokens; text is merged from the left")
    vocabulary.use_sentencepiece(
        _floats(vocabulary, scores), add_space=facts.add_space, unknown=facts.special.get("unk")
    )


def _floats(vocabulary: NativeVocabulary, scores: Any) -> array[float] | None:
    if scores is None:
        return None
    values = array("f", scores)
    if not math.isfinite(sum(values)):
        for token, score in enumerate(values):
            if not math.isfinite(score):
                name = vocabulary.text(token).decode("utf-8", "replace")
                raise FormatError(f"the score of token {token} ({name[:80]!r}) is {score}")
    return values
