"""Texts that end a repetition, as token sequences of a vocabulary."""

from __future__ import annotations

from typing import Any

import pytest

import pacos
from pacos.text.breakers import Breakers


class Letters:
    """A vocabulary whose tokens are these pieces; texts become the longest pieces from the left."""

    pieces = (b"a", b"b", b"c", b"ab", b"xa", b"bc!", b"\n", b".\n", b"\xe2\x80", b"\xe2", b"\x80", b"\xa6")

    def every_piece(self) -> list[bytes]:
        return list(self.pieces)

    def encode(self, text: bytes, *, add_special: bool) -> list[int]:
        found = []
        while text:
            piece = max((one for one in self.pieces if text.startswith(one)), key=len)
            found.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return found


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["\n"], [(6,), (7,)]),
        (["ab"], [(0, 1), (3,), (4, 1)]),
        (["abc"], [(0, 1, 2), (3, 2), (4, 1, 2)]),
        (["bc", "\n"], [(1, 2), (3, 2), (5,), (6,), (7,)]),
        (["\u2026"], [(8, 11), (9, 10, 11)]),
        (["zz"], []),
        ([], []),
    ],
    ids=repr,
)
def test_sequences_hold_the_breaker(texts: list[str], expected: list[tuple[int, ...]]) -> None:
    tokenizer: Any = Letters()
    assert list(Breakers(tokenizer).sequences(texts)) == expected


def test_dry_keeps_a_model_from_repeating_itself() -> None:
    """A greedy model that is made to loop goes on otherwise with DRY; breakers let it repeat what lies between them."""
    prompt = "Tom and Lily went home. Tom and Lily went home. Tom and Lily went home. Tom and"
    common: dict[str, Any] = {"temp": 0.0, "n_predict": 6}
    with pacos.load("storyteller", threads=1) as llm:
        plain = llm.generate(prompt, **common).text
        dry = llm.generate(prompt, dry_multiplier=5.0, dry_sequence_breakers=[], **common).text
        broken = llm.generate(prompt, dry_multiplier=5.0, dry_sequence_breakers=[" and"], **common).text
    assert plain.startswith(" Lily")
    assert not dry.startswith(" Lily")
    assert broken == plain
