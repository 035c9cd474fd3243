"""Tokenizer files of every form in GGUF's words: the same tokens as the libraries that wrote the files."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Oracle
from vocabularies import PARAGRAPH, byte_level, texts, trained_sentencepiece

from pacos.errors import FormatError, UnsupportedModel
from pacos.hub.hf_ranks import merges_of, spelled
from pacos.hub.hf_tokenizer import tokenizer_metadata
from pacos.hub.sentencepiece_model import read_sentencepiece
from pacos.text.tokenizer import Tokenizer

TEXTS = [PARAGRAPH, *texts(60, seed=31), "  two  spaces ", ""]


def write(folder: Path, **files: Any) -> None:
    """Write files named so, with a dot for two underscores; what is no text or bytes as JSON."""
    for name, value in files.items():
        data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        (folder / name.replace("__", ".")).write_bytes(data)


def key(metadata: dict[str, Any], name: str) -> Any:
    return metadata.get(f"tokenizer.ggml.{name}")


def test_a_byte_pair_sentencepiece_file(tmp_path: Path) -> None:
    oracle, data = trained_sentencepiece(
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False
    )
    size = oracle.vocab_size()
    decoder = {"1": {"content": "<s>", "special": True}, str(size + 1): {"content": "<|im_end|>"}}
    decoder[str(size + 2)] = {"content": "▁tool"}
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "added_tokens_decoder": decoder}
    write(tmp_path, tokenizer__model=data, tokenizer_config__json=settings, added_tokens__json={"x_y": size + 3})
    metadata = tokenizer_metadata(tmp_path, {"vocab_size": size + 5})
    assert key(metadata, "model") == "llama"
    assert key(metadata, "tokens")[size:] == [f"[PAD{size}]", "<|im_end|>", " tool", "x_y", f"[PAD{size + 4}]"]
    assert key(metadata, "token_type")[size:] == [5, 3, 4, 4, 5]
    assert key(metadata, "scores")[size:] == [-10000.0, -1000.0, -1000.0, -1000.0, -10000.0]
    assert [key(metadata, f"{role}_token_id") for role in ("bos", "eos", "unknown")] == [1, 2, None]
    assert key(metadata, "add_bos_token") is True
    assert key(metadata, "add_space_prefix") is None
    ours = Tokenizer.from_metadata(metadata)
    for text in TEXTS[:-1]:
        assert ours.encode(text, add_special=False) == oracle.encode(text)


def xlm_r(folder: Path) -> Oracle:
    """A unigram vocabulary in XLM-R's form, as both files."""
    _, data = trained_sentencepiece()
    write(folder, sentencepiece__bpe__model=data)
    model = read_sentencepiece(folder / "sentencepiece.bpe.model")
    pieces = list(zip([token.decode() for token in model.tokens], model.scores, strict=True))[3:]
    head = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    oracle = Oracle(models.Unigram([*head, *pieces, ("<mask>", 0.0)], 3))
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    oracle.normalizer = normalizers.Sequence([normalizers.Precompiled(model.charsmap), spaces])
    oracle.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    oracle.decoder = decoders.Metaspace()
    oracle.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    oracle.add_special_tokens([AddedToken(text, normalized=False) for text, _ in head])
    oracle.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    oracle.save(str(folder / "tokenizer.json"))
    names = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    write(folder, tokenizer_config__json={f"{role}_token": text for role, text in names.items()})
    return oracle


@pytest.mark.parametrize("form", ["tokenizer.json", "sentencepiece.bpe.model"])
def test_xlm_r_in_both_forms(form: str, tmp_path: Path) -> None:
    oracle = xlm_r(tmp_path)
    if form == "tokenizer.json":
        (tmp_path / "sentencepiece.bpe.model").unlink()
    metadata = tokenizer_metadata(tmp_path, {"vocab_size": oracle.get_vocab_size(), "type_vocab_size": 1})
    assert key(metadata, "model") == "t5"
    assert key(metadata, "tokens")[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert key(metadata, "tokens")[-1] == "<mask>"
    assert key(metadata, "token_type")[:5] == [3, 3, 3, 2, 1]
    assert [key(metadata, f"{role}_token_id") for role in ("bos", "eos", "unknown", "padding")] == [0, 2, 3, 1]
    assert [key(metadata, f"add_{role}_token") for role in ("bos", "eos", "sep")] == [True] * 3
    assert key(metadata, "add_space_prefix") is key(metadata, "remove_extra_whitespaces") is True
    assert key(metadata, "token_type_count") == 1
    ours = Tokenizer.from_metadata(metadata)
    for text in TEXTS:
        # The library normalises whole clusters of characters, SentencePiece and we the longest rule at each place.
        plain = "".join(c for c in text if unicodedata.category(c)[0] != "M" and c not in "\u200d\x85")
        assert ours.encode(plain) == oracle.encode(plain).ids, ascii(plain)
    first, second = ours.encode_pair("the fox", "the dog")
    assert first + second == oracle.encode("the fox", "the dog").ids


def byte_level_folder(folder: Path) -> Oracle:
    metadata, oracle = byte_level("gpt-2")
    vocab = {text: number for number, text in enumerate(metadata["tokenizer.ggml.tokens"][:-3])}
    merges = "\n".join(["#version: 0.2", *metadata["tokenizer.ggml.merges"], ""])
    decoder = {str(len(vocab) + i): {"content": text, "special": True} for i, text in enumerate(["<|a|>", "<|b|>"])}
    settings = {"tokenizer_class": "GPT2TokenizerFast", "added_tokens_decoder": decoder, "eos_token": "<|a|>"}
    write(folder, vocab__json=vocab, merges__txt=merges, tokenizer_config__json=settings)
    return oracle


def test_vocab_json_and_merges_txt(tmp_path: Path) -> None:
    oracle = byte_level_folder(tmp_path)
    metadata = tokenizer_metadata(tmp_path, {})
    assert key(metadata, "pre") == "gpt-2"
    assert key(metadata, "eos_token_id") == len(key(metadata, "tokens")) - 2
    assert key(metadata, "token_type")[-2:] == [3, 3]
    ours = Tokenizer.from_metadata(metadata)
    for text in TEXTS:
        assert ours.encode(text, add_special=False) == oracle.encode(text, add_special_tokens=False).ids
    write(tmp_path, tokenizer_config__json={"tokenizer_class": "OddTokenizer"})
    with pytest.raises(UnsupportedModel, match="how 'OddTokenizer' cuts text"):
        tokenizer_metadata(tmp_path, {})


def ranks() -> tuple[dict[bytes, int], Any]:
    """Byte strings by rank as tiktoken has them: ids are in the order of the merges."""
    metadata, oracle = byte_level("qwen2")
    letters = {spelled(bytes([byte])): byte for byte in range(256)}
    tokens = metadata["tokenizer.ggml.tokens"][:-3]
    return {bytes(letters[letter] for letter in token): number for number, token in enumerate(tokens)}, oracle


def test_merges_follow_from_ranks() -> None:
    assert merges_of(ranks()[0]) == byte_level("qwen2")[0]["tokenizer.ggml.merges"]


@pytest.mark.parametrize(("name", "pre"), [("qwen.tiktoken", "qwen2"), ("tiktoken.model", "kimi-k2")])
def test_tiktoken_files(name: str, pre: str, tmp_path: Path) -> None:
    by_rank, oracle = ranks()
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in by_rank.items()]
    (tmp_path / name).write_text("\n".join([*lines, ""]))
    mark = {str(len(by_rank) + 1): {"content": "<|im_start|>", "special": True}}
    write(tmp_path, tokenizer_config__json={"added_tokens_decoder": mark})
    metadata = tokenizer_metadata(tmp_path, {"vocab_size": len(by_rank) + 300})
    assert key(metadata, "pre") == pre
    assert key(metadata, "tokens")[len(by_rank) + 1] == "<|im_start|>"
    assert key(metadata, "token_type")[len(by_rank)] == 3
    assert key(metadata, "token_type")[-1] == 5
    ours = Tokenizer.from_metadata(metadata)
    if pre == "qwen2":
        for text in TEXTS:
            assert ours.encode(text, add_special=False) == oracle.encode(text, add_special_tokens=False).ids


def test_tekken(tmp_path: Path) -> None:
    by_rank, oracle = ranks()
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for token, rank in by_rank.items()]
    size = len(vocab) + 10
    special = [{"rank": i, "token_str": text} for i, text in enumerate(["<unk>", "<s>", "</s>"])]
    settings = {"default_vocab_size": size, "default_num_special_tokens": 10}
    write(tmp_path, tekken__json={"config": settings, "vocab": vocab, "special_tokens": special})
    metadata = tokenizer_metadata(tmp_path, {})
    assert key(metadata, "pre") == "tekken"
    assert key(metadata, "tokens")[:4] == ["<unk>", "<s>", "</s>", "<SPECIAL_3>"]
    assert [key(metadata, f"{role}_token_id") for role in ("bos", "eos", "unknown")] == [1, 2, 0]
    text = "plain words"
    expected = [10 + number for number in oracle.encode(text, add_special_tokens=False).ids]
    assert Tokenizer.from_metadata(metadata).encode(text) == [1, *expected]


def test_rwkv_lines(tmp_path: Path) -> None:
    lines = ["1 '\\x00' 1", "2 b'\\xe4\\xbd' 2", "3 ' the' 4", "4 '\\n\\n' 2", '5 "it\'s" 4', ""]
    (tmp_path / "rwkv_vocab_v20230424.txt").write_text("\n".join(lines))
    metadata = tokenizer_metadata(tmp_path, {"vocab_size": 8})
    assert key(metadata, "tokens") == ["<s>", "\\x00", "\\xe4\\xbd", " the", "\\n\\n", "it's", "[PAD6]", "[PAD7]"]
    assert key(metadata, "token_type") == [3, 1, 1, 1, 1, 1, 5, 5]
    assert Tokenizer.from_metadata(metadata).encode(b"it's the\n\n\xe4\xbd\0") == [5, 3, 4, 2, 1]


def test_plamo2_lines(tmp_path: Path) -> None:
    head = [["<|plamo:unk|>", 0.0, "UNKNOWN"], ["<|plamo:bos|>", 0.0, "CONTROL"], ["<|plamo:op|>", 0.0, "NORMAL"]]
    rows = [*head, *([f"<0x{byte:02X}>", 0.0, "BYTE"] for byte in range(256)), ["ab", -1.5, "NORMAL", 0, 1]]
    write(tmp_path, tokenizer__jsonl="\n".join(map(json.dumps, rows)))
    write(tmp_path, tokenizer_config__json={"bos_token": "<|plamo:bos|>", "unk_token": "<|plamo:unk|>"})
    metadata = tokenizer_metadata(tmp_path, {"vocab_size": 262})
    assert key(metadata, "tokens")[-3:] == ["ab", "[PAD1]", "[PAD2]"]
    assert key(metadata, "token_type")[:4] == [2, 3, 3, 6]
    assert [key(metadata, f"{role}_token_id") for role in ("bos", "eot")] == [1, 4]
    assert Tokenizer.from_metadata(metadata).encode("abc") == [259, 3 + ord("c")]


def test_vocab_txt(tmp_path: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fox", "##es", "a"]
    write(tmp_path, vocab__txt="\n".join([*tokens, ""]), tokenizer_config__json={"do_lower_case": True})
    ours = Tokenizer.from_metadata(tokenizer_metadata(tmp_path, {}))
    assert ours.encode("A FOXES zz") == [2, 7, 5, 6, 1, 3]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer__model": b"\n\x05abc"}, "5 bytes wanted, 3 are left"),
        ({"tokenizer__model": b"\n" + b"\xff" * 12}, "more than 10 bytes"),
        ({"tokenizer__model": b"\n\x04\n\x02ab"}, "1 pieces, needed are 2"),
        ({"tokenizer__model": b"\n\x02\x18\x09"}, "of type 9"),
        ({"tokenizer__model": b"\n\x02\x08\x01"}, "1 where bytes are needed"),
        ({"tokenizer__model": b"\n\x01\x0f"}, "wire type 7"),
        ({"tokenizer__model": b"\n\x02\n\x00\x12\x02\x18\x03"}, "a word model is not supported"),
        ({"qwen__tiktoken": "YQ== 0\nYg=="}, "line 2 is 'Yg=='"),
        ({"qwen__tiktoken": "YQ== 99999999"}, "line 1 is"),
        ({"tokenizer__jsonl": "[1]"}, r"line 1 is '\[1\]'"),
        ({"rwkv_vocab__txt": "1 'ab' 3"}, "line 1 is .* do not fit"),
        ({"rwkv_vocab__txt": "1 __import__('os') 1"}, "line 1 is"),
        ({"vocab__json": {"a": 0}, "merges__txt": "a b c"}, "needed: two tokens"),
        ({"vocab__json": {"a": -1}, "merges__txt": ""}, "has the id -1"),
        ({"vocab__txt": b"\xff"}, "UTF-8"),
        ({"tekken__json": {"config": {"default_vocab_size": -1, "default_num_special_tokens": 1}}}, "size -1"),
    ],
)
def test_damaged_files_are_refused(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, **files)
    with pytest.raises((FormatError, UnsupportedModel), match=message):
        tokenizer_metadata(tmp_path, {})
