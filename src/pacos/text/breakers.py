"""Texts that end a repetition, as the token sequences in which a text may hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pacos.text.tokenizer import Tokenizer

_MOST_TAIL_TOKENS = 20
_MOST_KEPT = 16  # lists of breakers that are remembered


class Breakers:
    """Finds, for one vocabulary, the token sequences that hold a breaker; remembers what it found.

    A token that holds the whole breaker is a sequence of its own. One that ends with the breaker's beginning is the
    first of a sequence, followed by the tokens of the rest. Source: as llama.cpp (src/llama-sampler.cpp).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    def sequences(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Token sequences, ascending, each of one token or more."""
        key = tuple(texts)
        if key not in self._known:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            pieces = self._tokenizer.every_piece()
            self._known[key] = tuple(sorted({one for text in texts for one in self._holding(text.encode(), pieces)}))
        return self._known[key]

    def _holding(self, text: bytes, pieces: Sequence[bytes]) -> Iterator[tuple[int, ...]]:
        for token, piece in enumerate(pieces):
            if text in piece:
                yield (token,)
        for size in range(1, len(text)):
            heads = [token for token, piece in enumerate(pieces) if piece.endswith(text[:size]) and text not in piece]
            tail = self._tail(text[size:], pieces) if heads else ()
            if tail:
                yield from ((token, *tail) for token in heads)

    def _tail(self, rest: bytes, pieces: Sequence[bytes]) -> tuple[int, ...]:
        try:
            rest.decode()
        except UnicodeDecodeError:  # the head ends inside a character: only tokens of single bytes can follow
            single = {piece: token for token, piece in enumerate(pieces) if len(piece) == 1}
            bytes_of = [rest[i : i + 1] for i in range(len(rest))]
            return tuple(single[byte] for byte in bytes_of) if all(byte in single for byte in bytes_of) else ()
        return tuple(self._tokenizer.encode(rest, add_special=False)[:_MOST_TAIL_TOKENS])
