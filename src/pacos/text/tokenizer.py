"""Text to token ids and back, as the model's file defines it.

Native code merges and spells; this side holds the policy: which tokens are markup, which end a text, what is added
around it. Names and defaults are those of GGUF (`tokenizer.ggml.*`), behaviour is llama.cpp's except where its
result cannot be decoded to the same text (see `decode`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from pacos.errors import FormatError, UsageError
from pacos.text.encodings import Facts, find_encoding
from pacos.text.native_vocabulary import NativeVocabulary
from pacos.text.token_policy import (
    CONTROL,
    UNKNOWN,
    USER_DEFINED,
    flag,
    read_pieces,
    read_special,
    read_suppressed,
    settle_types,
    strips,
)


class PromptPart(Protocol):
    """A piece of a rendered prompt: `markup` may hold special tokens, data never does."""

    @property
    def text(self) -> str:
        """The characters."""

    @property
    def markup(self) -> bool:
        """Whether it comes from the template and not from a user."""


class Tokenizer:
    """A vocabulary with its rules. Constant, so many threads may use one.

    special: ids by role: bos eos eot eom unk sep pad mask cls fim_pre fim_suf fim_mid fim_pad fim_rep fim_sep.
    eog: ids that end generation. suppressed: ids that are never to be generated.
    warnings: what is odd about the file, in sentences.
    """

    def __init__(self, vocabulary: NativeVocabulary, types: array[int], special: Mapping[str, int]) -> None:
        self._native = vocabulary
        self._pieces: tuple[dict[int, bytes], dict[int, bytes]] = ({}, {})  # those that were asked for; markup by name
        self._types = types
        self.vocab_size = vocabulary.size
        self.special = dict(special)
        self.bos = special.get("bos")
        self.eos = special.get("eos")
        self.add_bos = False
        self.add_eos = False
        self.add_sep = False
        self.add_space_prefix = False
        self._takes_text = True
        self.eog: frozenset[int] = frozenset()
        self.suppressed: tuple[int, ...] = ()
        self.warnings: tuple[str, ...] = ()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """Read the `tokenizer.ggml.*` keys of a file.

        Errors: UnsupportedModel for an unknown kind or pre-tokenizer; FormatError naming the token that is wrong.
        """
        model = metadata.get("tokenizer.ggml.model")
        if not isinstance(model, str):
            raise FormatError("the file has no tokenizer.ggml.model", hint="is this only a part of a model?")
        encoding = find_encoding(model)
        defaults = encoding.defaults(metadata)
        native, types = read_pieces(metadata)
        special = read_special(metadata, defaults.special, native.size)
        eog = settle_types(native, types, special)
        native.set_types(types)
        add_space = flag(metadata, "add_space_prefix", default=defaults.add_space)
        facts = Facts(metadata, special, add_space, list(defaults.warnings))
        encoding.install(native, facts)

        made = cls(native, types, special)
        made.eog = eog
        made.add_bos = flag(metadata, "add_bos_token", default=defaults.add_bos) or defaults.force_bos
        made.add_eos = flag(metadata, "add_eos_token", default=defaults.add_eos)
        made.add_sep = flag(metadata, "add_sep_token", default=defaults.add_sep)
        made.add_space_prefix = add_space
        made._takes_text = defaults.takes_text
        made.suppressed = read_suppressed(metadata, native.size)
        made._watch_specials(metadata)
        if not eog:
            facts.warnings.append("no token of the vocabulary ends generation; only the length limit does")
        if len(native.of_type(CONTROL)) == native.size:
            facts.warnings.append("every token of the vocabulary is marked as control")
        made.warnings = tuple(facts.warnings)
        return made

    def _watch_specials(self, metadata: Mapping[str, Any]) -> None:
        """Have markup and user-defined tokens recognised in text."""
        special = [token for kind in _SPECIAL for token in self._native.of_type(kind)]
        left, right = strips(metadata, self._native, special)
        for token in special:
            self._native.add_special(
                token,
                markup_only=self._types[token] != USER_DEFINED,
                strip_left=token in left,
                strip_right=token in right,
            )

    def encode(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        add_special: begin with BOS and end with EOS where the model wants them. parse_special: recognise control
        tokens such as <|im_end|> in the text; without it they are plain characters. Bytes that are no UTF-8 become
        U+FFFD, or byte tokens in a SentencePiece vocabulary.
        Errors: UsageError for a text where there is no tokenizer.
        """
        data = text if isinstance(text, bytes) else _utf8(text)
        ids = self._split(data, [(0, len(data))] if parse_special else [])
        return self._framed(ids, add_special=add_special, once=False)

    def encode_pair(self, first: str | bytes, second: str | bytes) -> tuple[list[int], list[int]]:
        """Token ids of two texts that a model compares, each with the marks that belong around it."""
        ids, others = (self.encode(text, add_special=False) for text in (first, second))
        begin = [self.bos] if self.add_bos and self.bos is not None else []
        end = [self.eos] if self.add_eos and self.eos is not None else []
        sep = self.special.get("sep")
        between = [sep] if self.add_sep and sep is not None else []
        return [*begin, *ids, *end], [*between, *others, *end]

    def encode_segments(self, segments: Iterable[PromptPart], *, add_special: bool = True) -> list[int]:
        """Token ids of a rendered prompt: control tokens are recognised in markup, never in data.

        The text is split into tokens as one whole. BOS and EOS are not added where the markup already has them.
        """
        parts: list[bytes] = []
        markup: list[tuple[int, int]] = []
        at = 0
        for segment in segments:
            data = _utf8(segment.text)
            if segment.markup and data:
                joined = markup and markup[-1][1] == at
                begin = markup.pop()[0] if joined else at
                markup.append((begin, at + len(data)))
            parts.append(data)
            at += len(data)
        ids = self._split(b"".join(parts), markup)
        return self._framed(ids, add_special=add_special, once=True)

    def _split(self, data: bytes, markup: list[tuple[int, int]]) -> list[int]:
        if data and not self._takes_text:
            hint = "give token ids, or a file with its tokenizer"
            raise UsageError("the model has no tokenizer: it takes token ids alone, no text", hint=hint)
        return self._native.encode(data, markup).tolist()

    def _framed(self, ids: list[int], *, add_special: bool, once: bool) -> list[int]:
        if not add_special:
            return ids
        if self.add_bos and self.bos is not None and not (once and ids and ids[0] == self.bos):
            ids.insert(0, self.bos)
        if self.add_eos and self.eos is not None and not (once and ids and ids[-1] == self.eos):
            ids.append(self.eos)
        return ids

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token adds to the text; nothing for control tokens unless `special`."""
        known = self._pieces[special].get(token)  # every token of every stream comes this way
        if known is None:
            known = self._pieces[special][token] = self._native.pieces(self._ids([token]), special=special)
        return known

    def every_piece(self) -> list[bytes]:
        """The bytes of each token, control tokens by name."""
        return self._native.every_piece()

    def control_ids(self) -> list[int]:
        """Ids of the tokens that are markup, ascending."""
        return sorted((*self._native.of_type(CONTROL), *self._native.of_type(UNKNOWN)))

    def token_text(self, token: int) -> str:
        """The vocabulary's own spelling of a token; bytes that are no UTF-8 are surrogates."""
        return self._native.text(self._ids([token])[0]).decode("utf-8", "surrogateescape")

    def find(self, text: str) -> int | None:
        """The id of the token with this spelling."""
        return self._native.find(text)

    def is_control(self, token: int) -> bool:
        """Whether a token is markup that is not part of the text."""
        return self._types[self._ids([token])[0]] in {CONTROL, UNKNOWN}

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """The bytes of a text: its pieces in a row, without the space that `encode` put in front."""
        ids = self._ids(tokens)
        if not self.add_space_prefix:
            return self._native.pieces(ids, special=special)
        if not special and ids and ids[0] == self.bos:
            del ids[0]
        data = self._native.pieces(ids, special=special)
        first = self._native.pieces(ids[:1], special=special)
        return data[1:] if first[:1] == b" " else data

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of these tokens; bytes that are no UTF-8 become U+FFFD.

        Spaces before punctuation stay, although llama.cpp removes them for some models: a decoded text must encode
        to the same tokens again.
        Errors: UsageError for what is no id of this vocabulary.
        """
        return self.decode_bytes(tokens, special=special).decode("utf-8", "replace")

    def _ids(self, tokens: Sequence[int]) -> array[int]:
        """Tokens as native code wants them, each proved to be one of ours."""
        try:
            ids = array("i", tokens)
            bad: object = next((t for t in ids if not 0 <= t < self.vocab_size), None)
        except (TypeError, OverflowError):
            bad = tokens
        if bad is not None:
            raise UsageError(f"{bad!r} is not a token id", hint=f"ids of this model are 0 to {self.vocab_size - 1}")
        return ids


_SPECIAL = (CONTROL, UNKNOWN, USER_DEFINED)


def _utf8(text: str) -> bytes:
    """UTF-8 of a text; surrogates that make no pair become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
