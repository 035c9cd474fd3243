"""WordPiece, as BERT and its kin: words of cleaned and folded text, cut into the longest pieces from the left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.text.encodings import Defaults, Facts
from pacos.text.native_vocabulary import NativeVocabulary
from pacos.text.token_policy import flag

MODELS = ("bert",)


def defaults(metadata: Mapping[str, Any]) -> Defaults:
    """The ids of BERT's own vocabularies; a text stands between [CLS] and [SEP].

    Files name these marks as such, not as beginning and end.
    """
    cls, sep = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("cls", "seperator"))
    special = {
        "bos": cls if isinstance(cls, int) else 101,
        "eos": sep if isinstance(sep, int) else 102,
        **{"sep": 102, "unk": 100, "pad": 0, "mask": 103},
    }
    return Defaults(special=special, add_bos=True, add_eos=True, add_space=True)


def install(vocabulary: NativeVocabulary, facts: Facts) -> None:
    """Read how text is folded; files that do not say so come from models of small letters without accents."""
    lower = flag(facts.metadata, "normalizer.lowercase", default=True)
    vocabulary.use_wordpiece(
        lower=lower,
        strip_marks=flag(facts.metadata, "normalizer.strip_accents", default=lower),
        unknown=facts.special.get("unk"),
    )
