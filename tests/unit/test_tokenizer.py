"""Text to ids and back, against the library `tokenizers` and against published vectors."""

from __future__ import annotations

import threading
from array import array
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from linear_time import quickest
from shared_files import shared
from vocabularies import BOS, EOS, PARAGRAPH, TURN, byte_level, sentencepiece, texts

import pacos
from pacos.errors import UsageError
from pacos.formats import open_archive
from pacos.formats.gguf_write import write_gguf
from pacos.text.tokenizer import Tokenizer

FAMILIES = ("gpt-2", "llama-bpe", "qwen2", "gpt-4o", "deepseek-llm", "deepseek-v3", "falcon", "starcoder", "default")
VECTORS = ("llama-bpe", "llama-spm", "gpt-2", "qwen2", "falcon", "deepseek-llm", "bert-bge")
STORYTELLER = Path(pacos.__file__).parent / "data" / "storyteller.gguf"


def bpe(pre: str) -> Tokenizer:
    return Tokenizer.from_metadata(byte_level(pre)[0])


def spm(**changes: object) -> Tokenizer:
    return Tokenizer.from_metadata({**sentencepiece()[0], **{f"tokenizer.ggml.{k}": v for k, v in changes.items()}})


@pytest.mark.parametrize("pre", FAMILIES)
def test_byte_level_agrees_with_the_oracle(pre: str) -> None:
    metadata, oracle = byte_level(pre)
    ours = Tokenizer.from_metadata(metadata)
    for text in [PARAGRAPH, *texts(200, seed=1)]:
        expected = oracle.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special=False) == expected, ascii(text)
        assert ours.decode(expected) == text


def test_sentencepiece_agrees_with_the_oracle() -> None:
    ours, oracle = spm(), sentencepiece()[1]
    for text in [PARAGRAPH, *texts(300, seed=2)]:
        assert ours.encode(text, add_special=False) == oracle.encode(text).ids, ascii(text)


def test_long_words_merge_like_short_ones() -> None:
    metadata, oracle = byte_level("qwen2")
    ours = Tokenizer.from_metadata(metadata)
    ours_spm, oracle_spm = spm(), sentencepiece()[1]
    letters = "".join(c for c in PARAGRAPH if c.isalpha())
    for text in (letters, "они" * 90, "fibonacci" * 50, "abab" * 40, "e" * 333):
        assert ours.encode(text, add_special=False) == oracle.encode(text, add_special_tokens=False).ids
        assert ours_spm.encode(text, add_special=False) == oracle_spm.encode(text).ids


@pytest.mark.parametrize("model", VECTORS)
def test_published_vectors(model: str) -> None:
    path = shared(f"vocab/ggml-vocab-{model}.gguf")
    ours = Tokenizer.from_metadata(open_archive(path).metadata)
    inputs = Path(f"{path}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    outputs = Path(f"{path}.out").read_text(encoding="utf-8").split("\n")[:47]  # the last text is empty
    assert len(inputs) == len(outputs) == 47
    for text, line in zip(inputs, outputs, strict=True):
        expected = [int(word) for word in line.split()]
        assert ours.encode(text, add_special=False) == expected, ascii(text)
        assert model == "bert-bge" or ours.decode(expected) == text  # WordPiece folds text


def test_the_bundled_model_tokenizes_as_its_trainer_did() -> None:
    import tokenizers

    oracle = tokenizers.Tokenizer.from_file(str(shared("models/storyteller-hf/tokenizer.json")))
    ours = Tokenizer.from_metadata(open_archive(STORYTELLER).metadata)
    for text in [PARAGRAPH, "Once upon a time, there was a dragon.", *texts(300, seed=3)]:
        assert ours.encode(text, add_special=False) == oracle.encode(text, add_special_tokens=False).ids


def test_the_bundled_vocabulary() -> None:
    ours = Tokenizer.from_metadata(open_archive(STORYTELLER).metadata)
    text = "Once upon a time, there was a little dragon. It's 3 o'clock!\n"
    ids = ours.encode(text, add_special=False)
    assert ours.vocab_size == 2048
    assert len(ids) < 24
    assert ours.decode(ids) == text
    turn = ours.find(TURN)
    assert turn in ours.eog
    assert ours.encode(TURN, add_special=False, parse_special=True) == [turn]


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe"])
@given(text=st.text(max_size=60))
def test_byte_level_round_trip(pre: str, text: str) -> None:
    ours = bpe(pre)
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert ours.decode(ids, special=True) == (BOS if ours.add_bos else "") + text
    assert b"".join(ours.piece(token) for token in ids) == text.encode()


@given(text=st.text(max_size=60))
def test_sentencepiece_round_trip(text: str) -> None:
    ours = spm()
    assert ours.decode(ours.encode(text)) == text.replace("▁", " ")
    assert ours.decode(ours.encode(text, add_special=False)) == text.replace("▁", " ")


@given(data=st.binary(max_size=40))
@example(data=b"\xc0 ")
def test_bytes_that_are_no_text(data: bytes) -> None:
    byte_vocabulary, byte_fallback = bpe("llama-bpe"), spm(add_space_prefix=False)
    decoded = byte_vocabulary.decode(byte_vocabulary.encode(data))
    try:
        assert decoded == data.decode()
    except UnicodeDecodeError:
        assert "\ufffd" in decoded
    if b"\xe2\x96\x81" not in data:
        assert byte_fallback.decode_bytes(byte_fallback.encode(data)) == data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\x80b", "a\ufffdb"),
        (b"\xc0\x80", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf5\x80\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
        (b"ok \xf0\x9f\x98", "ok \ufffd\ufffd\ufffd"),
        ("\U0010ffff\ufdd0\ufeff\u202e".encode(), "\U0010ffff\ufdd0\ufeff\u202e"),
    ],
)
def test_invalid_utf8_becomes_replacement_characters(data: bytes, text: str) -> None:
    ours = bpe("llama-bpe")
    assert ours.decode(ours.encode(data)) == text


def test_lone_surrogates_become_replacement_characters_and_pairs_join() -> None:
    ours = bpe("llama-bpe")
    assert ours.decode(ours.encode("a\ud800b")) == "a\ufffdb"
    assert ours.decode(ours.encode("\ud83d\ude00")) == "😀"


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "\0", "\0\0\0"])
def test_texts_that_are_hardly_there(text: str) -> None:
    for ours in (bpe("llama-bpe"), bpe("gpt-2"), spm()):
        assert ours.decode(ours.encode(text)) == text
    assert bpe("gpt-2").encode("") == []
    assert spm().encode("", add_special=False) == []
    assert spm().encode("") == [1]


def test_what_is_added_around_a_text() -> None:
    ours = spm(add_eos_token=True)
    inner = ours.encode("fox", add_special=False)
    assert ours.encode("fox") == [1, *inner, 2]
    assert spm(add_bos_token=False).encode("fox") == inner
    llama, gpt2 = bpe("llama-bpe"), bpe("gpt-2")
    assert llama.encode("fox")[0] == llama.bos
    assert gpt2.encode("fox") == gpt2.encode("fox", add_special=False)


def test_the_space_before_a_text() -> None:
    with_space, without = spm(), spm(add_space_prefix=False)
    assert with_space.encode("fox") == without.encode(" fox")
    assert with_space.decode(with_space.encode("fox")) == "fox"
    assert with_space.decode(with_space.encode(" fox")) == " fox"
    assert with_space.decode(with_space.encode("fox"), special=True) == "<s> fox"
    assert with_space.piece(with_space.encode("fox", add_special=False)[0])[:1] == b" "
    assert without.decode(without.encode(" fox")) == " fox"


def test_scores_decide_and_equal_scores_merge_from_the_left() -> None:
    letters = ["a", "b", "c", "ab", "bc"]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *letters],
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1, 1, 1, 1],
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": False,
    }
    left = Tokenizer.from_metadata({**metadata, "tokenizer.ggml.scores": [0.0] * 8})
    right = Tokenizer.from_metadata({**metadata, "tokenizer.ggml.scores": [0.0] * 7 + [1.0]})
    assert [left.token_text(i) for i in left.encode("abc")] == ["ab", "c"]
    assert [right.token_text(i) for i in right.encode("abc")] == ["a", "bc"]
    assert left.encode("z") == [0]  # no byte tokens: unknown


def test_ids_are_proved_before_native_code_sees_them() -> None:
    ours = bpe("gpt-2")
    for tokens in ([-1], [ours.vocab_size], [1 << 31], [1 << 63], [1.5], ["5"], [None]):
        with pytest.raises(UsageError, match="not a token id"):
            ours.decode(tokens)
    with pytest.raises(UsageError):
        ours.piece(-1)
    with pytest.raises(UsageError):
        ours.token_text(ours.vocab_size)
    assert ours.decode([]) == ""


def test_packed_and_listed_strings_are_the_same() -> None:
    metadata = dict(open_archive(STORYTELLER).metadata)
    listed = {k: list(v) if "tokens" in k or "merges" in k else v for k, v in metadata.items()}
    assert not hasattr(listed["tokenizer.ggml.tokens"], "address")
    text = PARAGRAPH * 2
    assert Tokenizer.from_metadata(metadata).encode(text) == Tokenizer.from_metadata(listed).encode(text)


def test_many_threads_use_one_tokenizer() -> None:
    ours = bpe("llama-bpe")
    inputs = texts(40, seed=4)
    expected = [ours.encode(text) for text in inputs]
    found: list[list[list[int]]] = []
    threads = [threading.Thread(target=lambda: found.append([ours.encode(text) for text in inputs])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6


def test_gemma4_merges_plain_utf8() -> None:
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "\n",
        "\n\n",
        "a",
        "b",
        "▁",
        "ab",
        "▁ab",
        *(f"<0x{b:02X}>" for b in range(256)),
    ]
    metadata = {
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, 1, 1, 1, 1, 1, 1, 1] + [6] * 256,
        "tokenizer.ggml.merges": ["a b", "▁ ab"],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
    }
    ours = Tokenizer.from_metadata(metadata)
    assert [ours.token_text(i) for i in ours.encode("ab ab\n\n\x01b")] == ["<bos>", "ab", "▁ab", "\n\n", "<0x01>", "b"]
    assert ours.decode(ours.encode("ab ab\n\né")) == "ab ab\n\né"


def test_wide_arrays_of_numbers_are_accepted() -> None:
    metadata = dict(sentencepiece()[0])
    metadata["tokenizer.ggml.scores"] = array("f", metadata["tokenizer.ggml.scores"])
    metadata["tokenizer.ggml.token_type"] = array("i", metadata["tokenizer.ggml.token_type"])
    assert Tokenizer.from_metadata(metadata).encode(PARAGRAPH) == spm().encode(PARAGRAPH)


def test_segments_are_split_as_one_text() -> None:
    ours = bpe("llama-bpe")
    assert ours.bos is not None
    parts = [(BOS, True), ("Hello wor", False), ("ld!\n", False), (EOS, True)]
    segments = [SimpleNamespace(text=text, markup=markup) for text, markup in parts]
    plain = ours.encode("Hello world!\n", add_special=False)
    assert ours.encode_segments(segments) == [ours.bos, *plain, ours.eos]  # BOS is not doubled
    assert ours.encode_segments(segments[1:3]) == [ours.bos, *plain]
    assert ours.encode_segments(segments[1:3], add_special=False) == plain


def test_a_large_vocabulary_opens_quickly(tmp_path: Path) -> None:
    """150,000 tokens and as many merges, from a GGUF file, in 200 ms where a dict of them takes 33."""
    letters = [chr(c) for c in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144))]
    tokens, merges = list(letters), []
    for stem in letters:
        tokens += [stem + letter for letter in letters]
        merges += [f"{stem} {letter}" for letter in letters]
    for pair in tokens[len(letters) : 600]:
        tokens += [pair + letter for letter in letters]
        merges += [f"{pair} {letter}" for letter in letters]
    merges = merges[:150_000]
    tokens = tokens[: len(letters) + len(merges)]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.merges": merges,
    }
    write_gguf(tmp_path / "large.gguf", metadata)

    def opened() -> Tokenizer:
        return Tokenizer.from_metadata(open_archive(tmp_path / "large.gguf").metadata)

    ours = opened()
    best, a_dict = quickest(opened), quickest(lambda: {token: number for number, token in enumerate(tokens)})
    assert ours.vocab_size > 150_000
    assert [ours.token_text(i) for i in ours.encode("ab!c", add_special=False)] == ["ab", "!c"]
    assert best < 6 * a_dict, f"{best:.3f} s, a dict {a_dict:.3f} s"
