"""tokenizer.json in GGUF's words; the oracle is the `tokenizers` library, which wrote the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Oracle

from pacos.errors import FormatError, UnsupportedModel
from pacos.hub.hf_splitters import splitter_name
from pacos.hub.hf_tokenizer import tokenizer_metadata
from pacos.text.splitters import find_splitter
from pacos.text.tokenizer import Tokenizer

TEXT = [
    "Once upon a time, there was a dragon. It's 1234 years old, isn't it?",
    "  Two  spaces,\ttabs\n\nand lines.   ",
    "Größe, naïve café, 你好世界, Привет, 🐉🐉",
    "",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]
LLAMA3, QWEN2 = (find_splitter(name).expressions[0] for name in ("llama-bpe", "qwen2"))


def split(*expressions: str) -> Any:
    steps = [pre_tokenizers.Split(Regex(one), "isolated") for one in expressions]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(pre: Any, folder: Path, **model: Any) -> Oracle:
    """A small byte-level BPE with two special tokens, saved in the folder."""
    oracle = Oracle(models.BPE(**model))
    oracle.pre_tokenizer = pre
    oracle.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    oracle.train_from_iterator(TEXT * 3, trainer)
    oracle.save(str(folder / "tokenizer.json"))
    return oracle


@pytest.mark.parametrize(
    ("name", "pre"),
    [
        ("gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=False)),
        ("dbrx", split(LLAMA3)),
        ("qwen2", split(QWEN2)),
        ("starcoder", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])),
        ("deepseek-coder", split(*find_splitter("deepseek-coder").expressions)),
    ],
)
def test_byte_level_vocabularies_give_the_same_tokens(name: str, pre: Any, tmp_path: Path) -> None:
    oracle = byte_level(pre, tmp_path)
    metadata = tokenizer_metadata(tmp_path, {"vocab_size": 410, "bos_token_id": 0, "eos_token_id": 1})
    assert metadata["tokenizer.ggml.pre"] == name
    assert len(metadata["tokenizer.ggml.tokens"]) == 410
    ours = Tokenizer.from_metadata(metadata)
    for text in TEXT:
        assert ours.encode(text) == oracle.encode(text).ids


def test_whole_words_choose_the_splitter_that_has_them(tmp_path: Path) -> None:
    byte_level(split(LLAMA3), tmp_path, ignore_merges=True)
    assert tokenizer_metadata(tmp_path, {})["tokenizer.ggml.pre"] == "llama-bpe"


def test_falcons_steps_are_known() -> None:
    steps = [
        {"type": "Punctuation", "behavior": "Contiguous"},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        {"type": "Digits", "individual_digits": False},
        {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": False},
    ]
    assert splitter_name({"type": "Sequence", "pretokenizers": steps}, whole_words=False) == "falcon"


def test_an_unknown_splitter_is_refused(tmp_path: Path) -> None:
    byte_level(split(r"\d+|\D+"), tmp_path)
    with pytest.raises(UnsupportedModel, match="pre-tokenizer is not known"):
        tokenizer_metadata(tmp_path, {})


def sentencepiece(folder: Path, *, prefix: bool) -> Oracle:
    """A BPE as transformers writes SentencePiece models: spaces as U+2581, bytes for what is left."""
    letters = sorted(set("".join(TEXT[:2])) - {" "})
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{b:02X}>": 3 + b for b in range(256)}}
    merges = [
        ("a", "n"),
        ("t", "h"),
        ("th", "e"),
        ("▁", "a"),
        ("▁", "the"),
        ("e", "r"),
        ("▁a", "n"),
        ("i", "t"),
        ("n", "c"),
    ]
    for token in ["▁", *letters, *("".join(pair) for pair in merges)]:
        vocab.setdefault(token, len(vocab))
    oracle = Oracle(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    oracle.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    oracle.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    oracle.add_special_tokens([AddedToken(text, special=True) for text in ("<unk>", "<s>", "</s>")])
    oracle.save(str(folder / "tokenizer.json"))
    return oracle


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_vocabularies_give_the_same_tokens(prefix: bool, tmp_path: Path) -> None:
    oracle = sentencepiece(tmp_path, prefix=prefix)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>"})
    )
    metadata = tokenizer_metadata(tmp_path, {})
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is prefix
    assert metadata["tokenizer.ggml.add_bos_token"] is True
    assert metadata["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6]
    ours = Tokenizer.from_metadata(metadata)
    for text in filter(None, TEXT):
        assert ours.encode(text) == oracle.encode(text).ids


def test_special_tokens_come_from_wherever_they_are_named(tmp_path: Path) -> None:
    byte_level(split(QWEN2), tmp_path)
    found = tokenizer_metadata(tmp_path, {"bos_token_id": 0, "eos_token_id": [1, 0]})
    assert found["tokenizer.ggml.eos_token_id"] == 1
    assert found["tokenizer.ggml.eot_token_id"] == 0
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "<s>"}}))
    assert tokenizer_metadata(tmp_path, {})["tokenizer.ggml.eos_token_id"] == 0
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "add_eos_token": True}))
    found = tokenizer_metadata(tmp_path, {"eos_token_id": 10**9, "bos_token_id": -1})
    assert found["tokenizer.ggml.eos_token_id"] == 1
    assert found["tokenizer.ggml.add_eos_token"] is True
    assert "tokenizer.ggml.bos_token_id" not in found


def test_chat_templates_come_from_the_file_or_the_settings(tmp_path: Path) -> None:
    byte_level(split(QWEN2), tmp_path)
    assert "tokenizer.chat_template" not in tokenizer_metadata(tmp_path, {})
    several = [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert tokenizer_metadata(tmp_path, {})["tokenizer.chat_template"] == "D"
    (tmp_path / "chat_template.jinja").write_text("J")
    assert tokenizer_metadata(tmp_path, {})["tokenizer.chat_template"] == "J"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(FormatError, match=r"chat_template\.jinja"):
        tokenizer_metadata(tmp_path, {})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": {"type": "WordLevel", "vocab": {}}}, UnsupportedModel, "WordLevel"),
        ({"model": {"type": "Unigram", "vocab": {}}}, FormatError, "pairs of piece and score"),
        ({"model": {"type": "Unigram", "vocab": [["a"]]}}, FormatError, "pairs of piece and score"),
        (
            {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}, "normalizer": {"type": "NFKD"}},
            UnsupportedModel,
            "normalizer {'type': 'NFKD'}",
        ),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, UnsupportedModel, "the pre-tokenizer .* of a unigram"),
        ({"model": {"type": "BPE", "vocab": []}}, FormatError, r"model\.vocab"),
        ({"model": None}, FormatError, r"model\.vocab"),
        ({"model": {"type": "BPE", "vocab": {"a": -1}}}, FormatError, "id -1"),
        ({"model": {"type": "BPE", "vocab": {"a": 2**40}}}, FormatError, "has the id"),
        ({"model": {"type": "BPE", "vocab": {"a": "x"}}}, FormatError, "has the id 'x'"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}}, FormatError, "no pair"),
        ({"added_tokens": [{"content": 3, "id": 0}]}, FormatError, "token 3"),
    ],
)
def test_damaged_files_are_refused(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    byte_level(split(QWEN2), tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec | change))
    with pytest.raises(error, match=message):
        tokenizer_metadata(tmp_path, {})
