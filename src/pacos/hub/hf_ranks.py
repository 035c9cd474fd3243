"""Byte-pair vocabularies that are lists of byte strings by rank (tiktoken, Tekken), and vocab.json with merges.txt.

Source: llama.cpp's conversion (how merges follow from ranks); tokenization_qwen.py and tokenization_kimi.py, as
published with the models, for the tokens that no file names; mistral-common for tekken.json.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pacos.errors import FormatError
from pacos.hub.hf_files import read_json, read_lines
from pacos.hub.vocabulary import TOKENS_MAX, Added, Vocabulary, numbered
from pacos.text.encodings.bpe import byte_alphabet

# File -> the pre-tokenizer of the models that come with it.
TIKTOKEN_FILES = {"qwen.tiktoken": "qwen2", "hy.tiktoken": "hunyuan", "tiktoken.model": "kimi-k2"}
TIKTOKEN_FILES |= {"arcade100k.tiktoken": "stablelm2", "tokenizer.model": "llama-bpe"}
_QWEN_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))
_LLAMA_NAMED = {  # of Llama 3's 256 ids after the ranks; the others are reserved
    **{0: "<|begin_of_text|>", 1: "<|end_of_text|>", 4: "<|finetune_right_pad_id|>"},
    **{6: "<|start_header_id|>", 7: "<|end_header_id|>", 8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>"},
}


def _llama_marks() -> Iterator[str]:
    reserved = count()
    for number in range(256):
        yield _LLAMA_NAMED.get(number) or f"<|reserved_special_token_{next(reserved)}|>"


_LLAMA_MARKS = tuple(_llama_marks())
_KIMI_RESERVED = 256  # ids after the ranks
_LETTERS = dict(enumerate(byte_alphabet()))


def spelled(data: bytes) -> str:
    """Bytes in GPT-2's alphabet."""
    return "".join(_LETTERS[byte] for byte in data)


def merges_of(ranks: Mapping[bytes, int]) -> list[str]:
    """The merges that give every token of more than one byte, in the order of the ranks."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [ranks.get(parts[i] + parts[i + 1], rank) for i in range(len(parts) - 1)]
            lowest = min(pairs)
            if lowest >= rank:
                break
            at = pairs.index(lowest)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append(f"{spelled(parts[0])} {spelled(parts[1])}")
    return merges


def tiktoken_vocabulary(path: Path, config: Mapping[str, Any]) -> Vocabulary:
    """A file of lines with a token in base64 and its rank. Errors: FormatError naming the line."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_lines(path), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            token, rank = base64.b64decode(parts[0], validate=True), int(parts[1])
            if not token or not 0 <= rank < TOKENS_MAX or len(parts) != 2:
                raise ValueError(f"rank {rank}")
        except (IndexError, ValueError, binascii.Error) as error:
            raise FormatError(
                f"{path}: line {number} is {line[:60]!a}, needed: a token in base64 and its rank"
            ) from error
        ranks[token] = rank
    first = max(ranks.values(), default=-1) + 1
    vocabulary = numbered(path, ((spelled(token), rank) for token, rank in ranks.items()), first)
    marks: tuple[str, ...] = ()
    if path.name == "qwen.tiktoken":
        marks = _QWEN_MARKS
    elif path.name == "tiktoken.model":
        marks = tuple(f"<|reserved_token_{first + i}|>" for i in range(_KIMI_RESERVED))
    elif path.name == "tokenizer.model" and config.get("vocab_size") == first + len(_LLAMA_MARKS):
        marks = _LLAMA_MARKS
        ends = {"eot": "<|eot_id|>", "eom": "<|eom_id|>", "bos": marks[0], "eos": marks[1]}
        vocabulary.more |= {f"{role}_token_id": first + marks.index(mark) for role, mark in ends.items()}
        vocabulary.more["add_bos_token"] = True
    vocabulary.place(Added(first + i, mark, special=True) for i, mark in enumerate(marks))
    size = config.get("vocab_size")
    vocabulary.pad(size if isinstance(size, int) else 0)
    vocabulary.merges = merges_of(ranks)
    is_glm = config.get("model_type") == "chatglm"
    vocabulary.more |= {"model": "gpt2", "pre": "chatglm-bpe" if is_glm else TIKTOKEN_FILES[path.name]}
    return vocabulary


def tekken_vocabulary(path: Path) -> Vocabulary:
    """Mistral's tekken.json: special tokens first, then byte strings by rank."""
    spec = read_json(path)
    settings = spec["config"]
    total, special = settings["default_vocab_size"], settings["default_num_special_tokens"]
    if not all(isinstance(value, int) and 0 < value < TOKENS_MAX for value in (total, special)):
        raise FormatError(f"{path}: default_vocab_size {total!a}, default_num_special_tokens {special!a}")
    ranks: dict[bytes, int] = {}
    for row in spec["vocab"][: total - special]:
        ranks[base64.b64decode(row["token_bytes"], validate=True)] = int(row["rank"])
    vocabulary = numbered(path, ((spelled(token), special + rank) for token, rank in ranks.items()), total)
    vocabulary.place(Added(number, f"<SPECIAL_{number}>", special=True) for number in range(special))
    for row in spec.get("special_tokens") or []:
        vocabulary.place([Added(int(row["rank"]), str(row["token_str"]), special=True)])
    vocabulary.merges = merges_of(ranks)
    vocabulary.more |= {"model": "gpt2", "pre": "tekken", "add_bos_token": True, "add_eos_token": False}
    for role, text in (("bos", "<s>"), ("eos", "</s>"), ("unknown", "<unk>"), ("padding", "<pad>")):
        if text in vocabulary.tokens[:special]:
            vocabulary.more[f"{role}_token_id"] = vocabulary.tokens.index(text)
    return vocabulary


def merges_vocabulary(folder: Path, config: Mapping[str, Any], pre: str) -> Vocabulary:
    """GPT-2's form: vocab.json with ids, merges.txt with a pair a line."""
    path = folder / "merges.txt"
    merges = []
    for number, line in enumerate(read_lines(path), 1):
        parts = line.split()
        if not parts or (number == 1 and line.startswith("#version")):
            continue
        if len(parts) != 2:
            raise FormatError(f"{path}: line {number} is {line[:60]!a}, needed: two tokens")
        merges.append(f"{parts[0]} {parts[1]}")
    vocab = read_json(folder / "vocab.json")
    vocabulary = numbered(folder / "vocab.json", vocab.items(), config.get("vocab_size"))
    vocabulary.merges = merges
    vocabulary.more |= {"model": "gpt2", "pre": pre}
    return vocabulary
