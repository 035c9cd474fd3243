"""Damaged and hostile vocabularies: refused with a sentence that names the token, or loaded by rule."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from vocabularies import BYTE, CONTROL, byte_level, sentencepiece

from pacos.errors import FormatError, UnsupportedModel
from pacos.text.splitters import splitter_names
from pacos.text.tokenizer import Tokenizer


def bpe(**changes: Any) -> Tokenizer:
    return Tokenizer.from_metadata(changed(byte_level("gpt-2")[0], changes))


def spm(**changes: Any) -> Tokenizer:
    return Tokenizer.from_metadata(changed(sentencepiece()[0], changes))


def changed(metadata: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Metadata with some keys replaced; None removes one, a function gets a copy of the old value."""
    made = dict(metadata)
    for name, value in changes.items():
        key = f"tokenizer.ggml.{name}"
        made[key] = value(list(made[key])) if callable(value) else value
        if value is None:
            del made[key]
    return made


def put(index: int, value: Any) -> Any:
    """A change of one element."""
    return lambda values: [*values[:index], value, *values[index + 1 :]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "no tokenizer.ggml.model"),
        ({"model": 5}, "no tokenizer.ggml.model"),
        ({"tokens": None}, "no tokenizer.ggml.tokens"),
        ({"tokens": []}, "0 tokens"),
        ({"tokens": ["a"]}, "1 tokens"),
        ({"tokens": "abc"}, "array of strings"),
        ({"tokens": array("B", b"abc")}, "array of strings"),
        ({"tokens": put(3, 7)}, "no strings"),
        ({"tokens": put(3, "x" * 65537)}, "token 3 is longer"),
        ({"token_type": lambda v: v[:-1]}, "token_type has .* values for"),
        ({"token_type": lambda v: [*v, 1]}, "token_type has .* values for"),
        ({"token_type": lambda v: array("B", v)}, "token_type must be an array"),
        ({"token_type": lambda v: [1.5] * len(v)}, "token_type must be an array"),
        ({"scores": [0.0]}, "scores has 1 values"),
        ({"scores": lambda v: array("d", v)}, "scores must be an array"),
        ({"bos_token_id": 100_000}, "bos_token_id is 100000"),
        ({"eos_token_id": -2}, "eos_token_id is -2"),
        ({"padding_token_id": "x"}, "padding_token_id is 'x'"),
        ({"eot_token_id": True}, "eot_token_id is True"),
        ({"suppress_tokens": [0, 100_000]}, "suppress_tokens holds 100000"),
        ({"add_bos_token": "yes"}, "add_bos_token is 'yes'"),
        ({"merges": None}, "without tokenizer.ggml.merges"),
        ({"merges": 3}, "merges is a int"),
        ({"merges": put(2, "Ġ")}, r"merge 2 \('Ġ'\) has no space"),
        ({"merges": put(2, "a ")}, "merge 2 .* has no space"),
        ({"merges": put(2, " a")}, "merge 2 .* has no space"),
        ({"merges": put(2, "a b c")}, "merge 2 .* more than one space"),
        ({"merges": put(2, "a nopiece")}, "merge 2 .* not in the vocabulary"),
        ({"merges": put(2, "Z Q")}, "merge 2 .* not in the vocabulary"),
        ({"pre": 3}, "tokenizer.ggml.pre is 3"),
    ],
)
def test_broken_byte_pair_vocabularies(changes: dict[str, Any], message: str) -> None:
    if "scores" in changes and callable(changes["scores"]):
        changes = {"scores": array("d", bytes(8 * len(byte_level("gpt-2")[0]["tokenizer.ggml.tokens"])))}
    with pytest.raises(FormatError, match=message):
        bpe(**changes)


@pytest.mark.parametrize("name", ["<0x-1>", "<0xZZ>", "<0x100>", "<0xff>", "0x41", "<0x4>", ""])
def test_byte_tokens_must_name_a_byte(name: str) -> None:
    with pytest.raises(FormatError, match="token 3 is a byte token called"):
        spm(tokens=put(3, name))
    last = len(byte_level("gpt-2")[0]["tokenizer.ggml.tokens"]) - 1
    with pytest.raises(FormatError, match="is a byte token called"):
        bpe(tokens=put(last, name), token_type=put(last, BYTE))


def test_all_byte_tokens_or_none() -> None:
    with pytest.raises(FormatError, match="255 of 256 byte tokens; <0x05> is missing"):
        spm(tokens=put(8, "something"), token_type=put(8, 1))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_scores_must_be_numbers(score: float) -> None:
    with pytest.raises(FormatError, match=r"the score of token 300 .* is"):
        spm(scores=put(300, score))


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(UnsupportedModel, match="qwen2") as caught:
        bpe(pre="qwen22")
    assert "pre-tokenizer is 'qwen22'" in caught.value.message
    with pytest.raises(UnsupportedModel, match="gemma4, gpt2, llama"):
        bpe(model="word2vec")
    with pytest.raises(UnsupportedModel):
        bpe(pre="\n" * 100_000)


def test_a_missing_pre_tokenizer_is_a_warning() -> None:
    assert any("does not name its pre-tokenizer" in line for line in bpe(pre=None).warnings)
    assert bpe(pre="default").warnings == ()
    assert bpe(pre=None).encode("a-b") == bpe(pre="default").encode("a-b")


def test_kimi_may_come_without_merges() -> None:
    assert bpe(pre="kimi-k2", merges=None).decode(bpe(pre="kimi-k2", merges=None).encode("fox")) == "fox"


def test_absent_ids_and_defaults_outside_the_vocabulary_are_none() -> None:
    assert bpe(eos_token_id=0xFFFFFFFF).eos is None
    assert bpe(bos_token_id=-1).bos is None
    tiny = {"tokens": ["a", "b"], "token_type": [1, 1], "merges": [], "bos_token_id": None, "eos_token_id": None}
    ours = bpe(**tiny)
    assert (ours.bos, ours.eos, ours.eog) == (None, None, frozenset())
    assert any("ends generation" in line for line in ours.warnings)
    assert any("have no token" in line for line in ours.warnings)
    assert ours.encode("abc") == [0, 1]


def test_every_token_may_be_control() -> None:
    ours = bpe(token_type=lambda v: [CONTROL] * len(v))
    assert any("marked as control" in line for line in ours.warnings)
    assert isinstance(ours.encode("fox"), list)


def test_duplicates_empty_and_undecodable_tokens_are_kept() -> None:
    ours = bpe(tokens=lambda v: [*v, "a", "", "\udcff\udcfe"], token_type=lambda v: [*v, 1, 1, 4])
    assert ours.find("a") == ours.encode("a")[0] < ours.vocab_size - 3
    assert ours.token_text(ours.vocab_size - 2) == ""
    assert ours.token_text(ours.vocab_size - 1) == "\udcff\udcfe"
    assert ours.piece(ours.vocab_size - 1) == b"\xff\xfe"
    assert ours.decode(ours.encode("banana")) == "banana"


def test_merges_may_repeat_and_chain() -> None:
    merges = byte_level("gpt-2")[0]["tokenizer.ggml.merges"]
    doubled = bpe(merges=[*merges, *merges])
    assert doubled.encode("the quick fox") == bpe().encode("the quick fox")


def test_a_longest_allowed_token_is_found() -> None:
    long = "x" * 65536
    ours = bpe(tokens=lambda v: [*v, long], token_type=lambda v: [*v, 4])
    assert ours.encode(long) == [ours.vocab_size - 1]


def test_missing_scores_are_a_warning() -> None:
    assert any("no scores" in line for line in spm(scores=None).warnings)


def test_token_types_that_nobody_knows_say_nothing() -> None:
    ours = bpe(token_type=put(40, 77))
    assert ours.piece(40) == b""


def test_suppressed_tokens() -> None:
    assert bpe(suppress_tokens=[1, 5]).suppressed == (1, 5)


@pytest.mark.parametrize("pre", sorted(name for name, row in splitter_names().items() if row.byte_level))
def test_every_pre_tokenizer_opens(pre: str) -> None:
    splitter, ours = splitter_names()[pre], bpe(pre=pre)
    assert ours.decode(ours.encode("Hello world 123 !\n", add_special=False)) == "Hello world 123 !\n"
    assert (ours.add_bos, ours.add_sep) == (splitter.add_bos, splitter.add_sep)
