"""A vocabulary on its way from a model's tokenizer files to GGUF's metadata.

Source: llama.cpp's conversion scripts for keys, token types, and the text and score of ids that nothing names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pacos.errors import FormatError
from pacos.formats.gguf_types import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from pacos.hub.hf_files import read_json_if_there

TOKENS_MAX = 1 << 24
_UNNAMED_MAX = 1 << 18  # ids without a name, as padded embeddings have
_UNNAMED_SCORE, _ADDED_SCORE = -10000.0, -1000.0
_LOOK_SPECIAL = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
_LOOK_SPECIAL_ENDS = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))


@dataclass(frozen=True, slots=True)
class Added:
    """A token that stands beside the vocabulary proper. `special`: markup, not a part of texts."""

    number: int
    text: str
    special: bool

    @property
    def kind(self) -> int:
        """Its GGUF type; many files forget to call markup special."""
        looks = self.text in _LOOK_SPECIAL or any(
            self.text.startswith(begin) and self.text.endswith(end) for begin, end in _LOOK_SPECIAL_ENDS
        )
        return CONTROL if self.special or looks else USER_DEFINED


@dataclass(slots=True)
class Vocabulary:
    """Tokens by id with types; scores or merges; and what else the kind of tokenizer needs under `tokenizer.ggml.`."""

    path: Path
    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    scores: list[float] | None = None
    merges: list[str] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def pad(self, count: int) -> None:
        """Name the ids up to `count` that nothing names. Errors: FormatError when they are far too many."""
        missing = count - len(self.tokens)
        if missing > _UNNAMED_MAX:
            raise FormatError(f"{self.path}: {len(self.tokens)} tokens are named, {count} are spoken of")
        for number in range(len(self.tokens), count):
            self.tokens.append(f"[PAD{number}]")
            self.types.append(UNUSED)
            if self.scores is not None:
                self.scores.append(_UNNAMED_SCORE)

    def is_unknown(self, added: Added) -> bool:
        """Whether this is the token for what no piece holds."""
        return added.number < len(self.types) and self.types[added.number] == UNKNOWN

    def place(self, added: Iterable[Added], *, score: float | None = _ADDED_SCORE) -> None:
        """Put tokens where they belong, over what stands there; without a score they keep theirs."""
        added = list(added)
        self.pad(max((one.number + 1 for one in added), default=0))
        for one in added:
            self.tokens[one.number] = one.text if one.kind == CONTROL else one.text.replace("\u2581", " ")
            self.types[one.number] = one.kind
            if self.scores is not None and score is not None:
                self.scores[one.number] = score

    def metadata(self) -> dict[str, Any]:
        """The keys of GGUF."""
        arrays = {"tokens": self.tokens, "token_type": self.types, "scores": self.scores, "merges": self.merges}
        found = {**self.more, **{key: value for key, value in arrays.items() if value is not None}}
        return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


def checked(path: Path, text: object, number: object) -> tuple[int, str]:
    """An id and its text. Errors: FormatError for what is none."""
    if not isinstance(text, str) or not isinstance(number, int) or not 0 <= number < TOKENS_MAX:
        raise FormatError(f"{path}: token {text!a} has the id {number!a}, needed: 0 to {TOKENS_MAX - 1}")
    return number, text


def numbered(path: Path, vocab: Iterable[tuple[object, object]], size: object = None) -> Vocabulary:
    """A vocabulary of pairs of text and id, with as many ids as the model has rows."""
    named = dict(checked(path, text, number) for text, number in vocab)
    count = max(max(named, default=-1) + 1, size if isinstance(size, int) else 0)
    if count > len(named) + _UNNAMED_MAX:
        raise FormatError(
            f"{path}: {len(named)} tokens are named, config.json speaks of {size!a}, ids go to {count - 1}"
        )
    tokens = [named.get(number, f"[PAD{number}]") for number in range(count)]
    return Vocabulary(path, tokens, [NORMAL if number in named else UNUSED for number in range(count)])


def added_tokens(folder: Path, spec: Mapping[str, Any] | None) -> list[Added]:
    """Tokens beside the vocabulary: in tokenizer.json, or in the files that slower tokenizers write."""
    if spec is not None:
        entries = [one for one in spec.get("added_tokens") or [] if isinstance(one, dict)]
        path = folder / "tokenizer.json"
    else:
        path = folder / "tokenizer_config.json"
        decoder = read_json_if_there(path).get("added_tokens_decoder") or {}
        entries = [{"id": int(number), **entry} for number, entry in decoder.items()]
        by_text = read_json_if_there(folder / "added_tokens.json")
        named = {entry["id"] for entry in entries}
        entries += [{"id": number, "content": text} for text, number in by_text.items() if number not in named]
    return [
        Added(*checked(path, entry.get("content"), entry.get("id")), bool(entry.get("special"))) for entry in entries
    ]
