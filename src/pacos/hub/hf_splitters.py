"""Recognise the pre-tokenizer of a tokenizer.json by its expressions and give the name that GGUF files use.

Unknown expressions are refused: a wrong splitter gives wrong tokens without any error.
Source: the `tokenizers` library's JSON format; the expressions of each name are those of `text.splitters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.errors import UnsupportedModel
from pacos.text.splitters import SPLITTERS, find_splitter

_BYTE_LEVEL = find_splitter("gpt-2").expressions[0]  # what ByteLevel with use_regex cuts by
_DIGITS = r"\p{N}"
_PUNCTUATION = "punctuation"
_PREFERRED = {"llama3": "llama-bpe", "jina-v1-en": "roberta-bpe"}  # of a row's names, the one that most files use
_FALCON = (_PUNCTUATION, _BYTE_LEVEL, _DIGITS, "[0-9][0-9][0-9]")
_MESSAGE_CHARACTERS = 300


def splitter_name(pre_tokenizer: Mapping[str, Any], *, whole_words: bool, pairs: bool = False) -> str:
    """The value for `tokenizer.ggml.pre`; `whole_words` is the model's `ignore_merges`.

    pairs: whether two texts are parted as RoBERTa's are.

    Errors: UnsupportedModel showing the expressions that no name is known for.
    """
    steps = tuple(_steps(pre_tokenizer))
    if steps == _FALCON:
        return "falcon"
    same = [row for row in SPLITTERS if row.byte_level and tuple(map(_loose, row.expressions)) == steps]
    same.sort(key=lambda row: (row.whole_words != whole_words, row.add_sep != pairs))
    if not same:
        shown = " then ".join(steps)[:_MESSAGE_CHARACTERS]
        hint = "convert the model to GGUF with a tool that knows it"
        raise UnsupportedModel(f"tokenizer.json: this pre-tokenizer is not known: {shown!a}", hint=hint)
    name = same[0].names[0]
    return _PREFERRED.get(name, name)


def _loose(expression: str) -> str:
    """Runs of digits cut one by one or left whole differ in no known vocabulary, which holds single digits alone."""
    return _DIGITS if expression == rf"{_DIGITS}+" else expression


def _steps(part: Mapping[str, Any]) -> list[str]:
    kind = part.get("type")
    if kind is None:
        return []
    if kind == "Sequence":
        return [step for one in part.get("pretokenizers", ()) for step in _steps(one)]
    if kind == "ByteLevel":
        return [_BYTE_LEVEL] if part.get("use_regex", True) else []
    if kind == "Digits":
        return [_DIGITS]
    if kind == "Punctuation":
        return [_PUNCTUATION]
    if kind == "Split":
        pattern = part.get("pattern") or {}
        return [_loose(str(pattern.get("Regex", pattern.get("String", ""))))]
    return [str(kind)]
