"""Unigram, RWKV, PLaMo 2 and white-space vocabularies: against SentencePiece and short definitions written here."""

from __future__ import annotations

import contextlib
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_time import assert_linear
from vocabularies import BYTE, CONTROL, LINES, NORMAL, PARAGRAPH, UNKNOWN, texts, trained_sentencepiece

from pacos.errors import FormatError
from pacos.hub.sentencepiece_model import SentencePieceModel, read_sentencepiece
from pacos.text.tokenizer import Tokenizer

PIECES = st.lists(st.text(alphabet="ab é▁漢", min_size=1, max_size=5), min_size=1, max_size=12, unique=True)


def unigram(model: SentencePieceModel, **changes: Any) -> Tokenizer:
    return made("t5", model.tokens, model.types, model.scores, **changes)


def made(model: str, tokens: list[Any], types: list[int], scores: list[float] | None = None, **more: Any) -> Tokenizer:
    """A tokenizer from GGUF's keys."""
    metadata = {
        "tokenizer.ggml.model": model,
        "tokenizer.ggml.tokens": [t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in tokens],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.unknown_token_id": types.index(UNKNOWN) if UNKNOWN in types else None,
        "tokenizer.ggml.scores": scores,
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }
    return Tokenizer.from_metadata({key: value for key, value in metadata.items() if value is not None})


def of_file(data: bytes, folder: Path) -> tuple[SentencePieceModel, Tokenizer]:
    path = folder / "spiece.model"
    path.write_bytes(data)
    model = read_sentencepiece(path)
    ours = made(
        *("t5", model.tokens, model.types, model.scores),
        add_space_prefix=model.add_space,
        remove_extra_whitespaces=model.merge_spaces,
        precompiled_charsmap=array("b", model.charsmap) if model.charsmap else None,
    )
    return model, ours


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalization_rule_name": "nmt_nfkc_cf", "user_defined_symbols": ("<mask>",)},
        {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        {"add_dummy_prefix": False, "normalization_rule_name": "nfkc"},
    ],
    ids=["t5", "folded", "bytes", "no-prefix"],
)
def test_unigram_agrees_with_sentencepiece(settings: dict[str, Any], tmp_path: Path) -> None:
    """Ids are equal; where two ways to cut a text are equally good, the sums of the scores are."""
    oracle, data = trained_sentencepiece(**settings)
    model, ours = of_file(data, tmp_path)
    assert [oracle.id_to_piece(i) for i in range(len(model.tokens))] == [t.decode() for t in model.tokens]
    other = 0
    every = [PARAGRAPH, *LINES, *texts(400, seed=21), " ", "", "  a  b ", "e\u0301\u0300 \u1100\u1161"]
    for text in every:
        found, expected = ours.encode(text, add_special=False), oracle.encode(text)
        other += found != expected
        scores = [sum(model.scores[i] for i in ids) for ids in (found, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3), ascii(text)
        assert len(found) == len(expected)
    assert other <= len(every) // 20


def test_unigram_adds_eos_and_recognises_marks(tmp_path: Path) -> None:
    _, data = trained_sentencepiece(user_defined_symbols=("<mask>",), pad_id=3)
    model, _ = of_file(data, tmp_path)
    ours = unigram(model, eos_token_id=2, bos_token_id=1, remove_extra_whitespaces=True)
    mask = ours.find("<mask>")
    ids = ours.encode("the fox <mask> it")
    assert ids[-1] == 2
    assert mask in ids
    assert 1 not in ours.encode("<s>", add_special=False)
    assert ours.encode("<s>", add_special=False, parse_special=True) == [1]
    assert ours.decode(ours.encode("the lazy dog", add_special=False)) == "the lazy dog"


@given(pieces=PIECES, text=st.text(alphabet="ab é漢x", max_size=30), seed=st.integers(0, 9))
def test_unigram_finds_the_best_path(pieces: list[str], text: str, seed: int) -> None:
    scores = [0.0, *(-random.Random(seed + i).randint(1, 5) for i in range(len(pieces)))]
    ours = made("t5", ["<unk>", *pieces], [UNKNOWN] + [NORMAL] * len(pieces), scores, add_space_prefix=False)
    found = ours.encode(text, add_special=False)
    escaped, unknown = text.replace(" ", "▁"), min(scores[1:]) - 10
    best = [0.0] + [-1e9] * len(escaped)
    for at in range(len(escaped)):
        if escaped[at] not in pieces:
            best[at + 1] = max(best[at + 1], best[at] + unknown)
        for piece, score in zip(pieces, scores[1:], strict=True):
            if escaped.startswith(piece, at):
                best[at + len(piece)] = max(best[at + len(piece)], best[at] + score)
    if 0 not in found:
        assert sum(scores[i] for i in found) == pytest.approx(best[-1])
        assert "".join(["<unk>", *pieces][i] for i in found) == escaped
    else:
        assert best[-1] <= unknown


@given(data=st.binary(max_size=60), text=st.text(max_size=20))
def test_any_charsmap_is_refused_or_harmless(data: bytes, text: str) -> None:
    size = len(data) // 8 * 4
    for charsmap in (data, size.to_bytes(4, "little") + data + b"\0"):
        with contextlib.suppress(FormatError):
            made(
                *("t5", ["<unk>", "a", "▁"], [UNKNOWN, NORMAL, NORMAL], [0.0, -1.0, -2.0]),
                precompiled_charsmap=array("B", charsmap),
            ).encode(text)


def test_what_unigram_needs() -> None:
    with pytest.raises(FormatError, match=r"no tokenizer\.ggml\.scores"):
        made("t5", ["<unk>", "a"], [UNKNOWN, NORMAL])
    with pytest.raises(FormatError, match="5 bytes that are no charsmap"):
        made("t5", ["<unk>", "a"], [UNKNOWN, NORMAL], [0.0, -1.0], precompiled_charsmap=array("B", bytes(5)))
    with pytest.raises(FormatError, match="8-bit"):
        made("t5", ["<unk>", "a"], [UNKNOWN, NORMAL], [0.0, -1.0], precompiled_charsmap=[1, 2])


def rwkv(pieces: list[bytes]) -> Tokenizer:
    tokens = ["<s>", *(repr(piece)[2:-1] for piece in pieces)]
    return made("rwkv", tokens, [CONTROL] + [NORMAL] * len(pieces))


WORDS = [b"\n\n", b"it's", b"\"'", b"\\", b"\\x", "é".encode(), "漢".encode()[:2], b"the", b" the", b"th", b"aaaa"]


@pytest.mark.parametrize("text", [PARAGRAPH, *texts(60, seed=22), "\\x41 it's\n\n \"' aaaaaaa", "<s>"])
def test_rwkv_takes_the_longest_piece(text: str) -> None:
    pieces = [bytes([byte]) for byte in range(256)] + WORDS
    ours, data, at, expected = rwkv(pieces), text.encode(), 0, []
    while at < len(data):
        longest = max((p for p in pieces if data.startswith(p, at)), key=len)
        expected.append(1 + pieces.index(longest))
        at += len(longest)
    assert ours.encode(text) == expected
    assert ours.decode(expected) == text


@given(pieces=st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=300, unique=True), seed=st.integers())
def test_rwkv_with_any_pieces(pieces: list[bytes], seed: int) -> None:
    ours = rwkv(pieces)
    data = b"".join(random.Random(seed).choices([*pieces, b"\0", b"zz"], k=20))
    expected, at = [], 0
    while at < len(data):
        longest = max((p for p in pieces if data.startswith(p, at)), key=len, default=b"")
        expected += [1 + pieces.index(longest)] if longest else []
        at += len(longest) or 1
    assert ours.encode(data) == expected


def plamo2(pieces: list[str], scores: list[float]) -> Tokenizer:
    tokens = ["<|plamo:unk|>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    return made("plamo2", tokens, [UNKNOWN] + [BYTE] * 256 + [NORMAL] * len(pieces), [0.0] * 257 + scores)


@given(pieces=PIECES, text=st.text(alphabet="ab é漢x", max_size=30), seed=st.integers(0, 9))
def test_plamo2_finds_the_best_path_from_the_end(pieces: list[str], text: str, seed: int) -> None:
    """Of equally good pieces the longest; a character that no piece holds costs 1000."""
    scores = [-float(random.Random(seed + i).randint(1, 4)) for i in range(len(pieces))]
    ours = plamo2(pieces, scores)
    best: list[tuple[float, int, int | None]] = [(0.0, 0, None)] * (len(text) + 1)
    for at in reversed(range(len(text))):
        options = [(best[at + 1][0] + 1000.0, -1, None)]
        for i, piece in enumerate(pieces):
            if text.startswith(piece, at):
                options.append((best[at + len(piece)][0] - scores[i], -len(piece), i))
        best[at] = min(options, key=lambda option: option[:2])
    expected, at = [], 0
    while at < len(text):
        _, size, i = best[at]
        expected += [257 + i] if i is not None else [1 + byte for byte in text[at].encode()]
        at -= size
    assert ours.encode(text, add_special=False) == expected
    assert ours.decode(expected) == text


def test_plamo2_needs_every_byte_and_drops_the_mark_of_byte_order() -> None:
    assert plamo2(["a", "\ufeff"], [-1.0, -1.0]).encode("\ufeffa\ufeff", add_special=False) == [257, 258]
    with pytest.raises(FormatError, match="0 of 256 byte tokens"):
        made("plamo2", ["<|plamo:unk|>", "a"], [UNKNOWN, NORMAL], [0.0, -1.0])


@pytest.mark.parametrize(("lower", "expected"), [(None, [1, 4, 1]), (True, [1, 4, 1, 5])])
def test_white_space_parts_words_and_goes(lower: bool | None, expected: list[int]) -> None:
    ours = made(
        *("whitespace", ["<unk>", "a", "b", "ab", "abc", "ä", "c"], [UNKNOWN] + [NORMAL] * 6),
        **{"pre": "whitespace", "merges": ["a b", "ab c"], "normalizer.lowercase": lower},
    )
    assert ours.encode(" a\u3000abc\n\na Ä", add_special=False) == expected


@pytest.mark.parametrize("run", ["a", "漢", " ", "ab", "é "])
def test_every_kind_in_linear_time(run: str) -> None:
    pieces = ["a", "b", "ab", "aaaa", "a" * 16, "漢漢", "▁", "▁▁", " ", "é"]
    scores = [-float(i + 1) for i in range(len(pieces))]
    kinds = [
        made("t5", ["<unk>", *pieces], [UNKNOWN] + [NORMAL] * 10, [0.0, *scores]),
        rwkv([piece.encode() for piece in pieces]),
        plamo2(pieces, scores),
    ]
    for ours in kinds:
        assert_linear(lambda data, ours=ours: ours.encode(data), run, 40_000)
        assert ours.encode(run * (1_000_000 // len(run.encode())))
