"""WordPiece gives the tokens of the `tokenizers` library, on text of every kind and however it is folded."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from models import sentences
from tokenizers import Tokenizer as Oracle
from tokenizers import models, normalizers, pre_tokenizers, processors

from pacos.errors import UnsupportedModel
from pacos.hub.hf_tokenizer import tokenizer_metadata
from pacos.text.tokenizer import Tokenizer

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "word",
    "fox",
    "quick",
    "the",
    "##s",
    "##ing",
    "##n",
    "grapes",
    "su",
    "##per",
    "##cali",
    "naive",
    "angstrom",
    "한국",
)
# Blocks whose characters have been what they are since Unicode 7, on whose tables the library still stands.
BLOCKS = (
    *((0x20, 0x17F), (0x1C4, 0x233), (0x300, 0x36F), (0x384, 0x3FF), (0x400, 0x52F), (0x5D0, 0x5EA), (0x621, 0x64A)),
    *((0x905, 0x939), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20B9), (0x2100, 0x214F), (0x2460, 0x24FF)),
    *((0x3000, 0x30FF), (0x3400, 0x3410), (0x4E00, 0x4E80), (0xAC00, 0xAC90), (0xD790, 0xD7A3), (0xF900, 0xF920)),
    *((0xFB00, 0xFB06), (0xFE00, 0xFE0F), (0xFF01, 0xFF60), (0xFFF9, 0xFFFD), (0x1F600, 0x1F64F), (0x20000, 0x20020)),
    *((0, 0x1F), (0x7F, 0xA0), (0xE000, 0xE004), (0x2F800, 0x2F810), (0x2B820, 0x2B930), (0x10400, 0x1044F)),
)


def vocabulary() -> dict[str, int]:
    seen: dict[str, None] = dict.fromkeys(MARKS)
    for text in (*sentences.TEXTS, "".join(chr(code) for code in range(0x20, 0x250))):
        for letter in text + unicodedata.normalize("NFD", text.lower()):
            if not letter.isspace() and unicodedata.category(letter)[0] != "C":
                seen |= {letter: None, f"##{letter}": None}
    seen |= dict.fromkeys(WORDS)
    return {piece: i for i, piece in enumerate(seen)}


def pair(folder: Path, **folding: Any) -> tuple[Tokenizer, Oracle]:
    vocab = vocabulary()
    oracle = Oracle(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    oracle.normalizer = normalizers.BertNormalizer(**folding)
    oracle.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = [(mark, vocab[mark]) for mark in ("[CLS]", "[SEP]")]
    oracle.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    oracle.save(str(folder / "tokenizer.json"))
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["added_tokens"] = [{"id": vocab[mark], "content": mark, "special": True} for mark in MARKS]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    named = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return Tokenizer.from_metadata(tokenizer_metadata(folder, {})), oracle


def random_text(seed: int) -> str:
    chosen = random.Random(seed)
    blocks = chosen.sample(BLOCKS, 4)
    letters = [chr(chosen.randint(*chosen.choice(blocks))) for _ in range(chosen.randint(0, 60))]
    return "".join(chosen.choice((letter, letter, letter + " ", *WORDS)) for letter in letters)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
def test_agrees_with_the_library(lowercase: bool, strip_accents: bool | None, tmp_path: Path) -> None:
    ours, oracle = pair(tmp_path, lowercase=lowercase, strip_accents=strip_accents)
    for text in (*sentences.TEXTS, *map(random_text, range(3000))):
        assert ours.encode(text) == oracle.encode(text).ids, ascii(text)


def test_every_character_of_old_is_folded_as_in_the_library(tmp_path: Path) -> None:
    ours, oracle = pair(tmp_path, lowercase=True)
    for first, last in BLOCKS:
        for code in range(first, last + 1):
            text = f"a{chr(code)}b {chr(code)}"
            assert ours.encode(text) == oracle.encode(text).ids, hex(code)


def test_marks_stand_around_a_text_and_are_never_made_by_it(tmp_path: Path) -> None:
    ours, _ = pair(tmp_path)
    assert ours.encode("") == [2, 3]
    assert ours.encode("fox", add_special=False) == [ours.find("\u2581fox")]
    assert 3 not in ours.encode("[SEP] [CLS]")[1:-1]
    assert ours.encode("[SEP]", parse_special=True) == [2, 3, 3]
    assert ours.decode(ours.encode("The QUICK foxes")) == "the quick foxes"
    assert ours.encode(b"fox\xff\xfe s") == ours.encode("fox s")
    first, second = ours.encode_pair("the fox", "grapes")
    assert first + second == [2, *ours.encode("the fox", add_special=False), 3, ours.find("\u2581grapes"), 3]


def test_a_long_word_is_unknown_and_costs_little(tmp_path: Path) -> None:
    ours, oracle = pair(tmp_path)
    for count in (100, 101):
        assert ours.encode("x" * count) == oracle.encode("x" * count).ids
    assert ours.encode("x" * 1_000_000) == [2, 1, 3]


def test_files_without_a_word_about_folding_mean_small_letters(tmp_path: Path) -> None:
    pair(tmp_path, lowercase=False)
    metadata = tokenizer_metadata(tmp_path, {})
    cased = Tokenizer.from_metadata(metadata)
    silent = Tokenizer.from_metadata({key: value for key, value in metadata.items() if ".normalizer." not in key})
    assert cased.encode("FOX") != cased.encode("fox") == silent.encode("FOX") == silent.encode("FÓX")


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("normalizer", None, "the normalizer is None, supported is 'BertNormalizer' alone"),
        ("normalizer", {"type": "BertNormalizer", "clean_text": False}, "clean_text is False"),
        ("pre_tokenizer", {"type": "Whitespace"}, "the pre-tokenizer is 'Whitespace'"),
        ("post_processor", None, r"the post-processor is 'None \[\]', supported is 'between"),
    ],
)
def test_other_steps_are_refused(part: str, value: Any, said: str, tmp_path: Path) -> None:
    pair(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec[part] = value
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UnsupportedModel, match=said):
        tokenizer_metadata(tmp_path, {})
