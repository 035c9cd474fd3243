"""Say in GGUF's metadata what a tokenizer.json of BERT's kind says.

Source: the `tokenizers` library's JSON format; llama.cpp's conversion for how words are marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pacos.errors import UnsupportedModel
from pacos.formats.gguf_types import NORMAL, UNUSED

_MARKED = (NORMAL, UNUSED)
_INSIDE = "##"  # before pieces that go on with a word; GGUF marks those that begin one instead
_BEGINS = "\u2581"
_NEEDED = {"clean_text": True, "handle_chinese_chars": True}


def wordpiece_metadata(path: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata under `tokenizer.ggml.` about how text is folded, and that it stands between marks.

    Errors: UnsupportedModel for steps that our tokenizer does not take.
    """
    model, normalizer = spec["model"], spec.get("normalizer") or {}
    splitter = (spec.get("pre_tokenizer") or {}).get("type")
    found = {
        "the normalizer": (normalizer.get("type"), "BertNormalizer"),
        "the post-processor": (_marks(spec.get("post_processor") or {}), "between [CLS] and [SEP]"),
        "the pre-tokenizer": (splitter, "BertPreTokenizer"),
        "continuing_subword_prefix": (model.get("continuing_subword_prefix", _INSIDE), _INSIDE),
        "max_input_chars_per_word": (model.get("max_input_chars_per_word", 100), 100),
        **{key: (normalizer.get(key, value), value) for key, value in _NEEDED.items()},
    }
    for what, (value, needed) in found.items():
        if value != needed:
            raise UnsupportedModel(f"{path}: {what} is {value!a}, supported is {needed!a} alone")
    lower = bool(normalizer.get("lowercase", True))
    strip = normalizer.get("strip_accents")
    return {
        "model": "bert",
        "add_bos_token": True,
        "add_eos_token": True,
        "normalizer.lowercase": lower,
        **({} if strip is None else {"normalizer.strip_accents": bool(strip)}),  # unsaid: as lowercase
    }


def _marks(processor: Mapping[str, Any]) -> str:
    """Where a post-processor puts a text."""
    kind = processor.get("type")
    single = [next(iter(step)) for step in processor.get("single") or []]
    around = kind == "BertProcessing" or single == ["SpecialToken", "Sequence", "SpecialToken"]
    return "between [CLS] and [SEP]" if around else f"{kind} {single}"


def marked_words(tokens: Sequence[str], types: Sequence[int]) -> list[str]:
    """Pieces with a mark where they begin a word, and none where they go on with it; added tokens as they are."""
    return [
        token if kind not in _MARKED else token.removeprefix(_INSIDE) if token.startswith(_INSIDE) else _BEGINS + token
        for token, kind in zip(tokens, types, strict=True)
    ]
