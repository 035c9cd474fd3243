"""Vocabularies that are lists of tokens, one a line: RWKV's, PLaMo 2's tokenizer.jsonl, BERT's vocab.txt.

Source: llama.cpp's conversion for the keys; the files as published with the models.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError
from pacos.formats.gguf_types import BYTE, CONTROL, NORMAL, UNKNOWN
from pacos.hub.hf_files import read_json_if_there, read_lines
from pacos.hub.vocabulary import Vocabulary, numbered

_RWKV_TURN_END = 261  # two line breaks
_PLAMO_TURN_END = 4  # <|plamo:op|>
_PLAMO_TYPES = {"UNKNOWN": UNKNOWN, "CONTROL": CONTROL, "BYTE": BYTE}
_PLAMO_ADDED_SCORE = -1000.0
_BERT_MARKS = {"[CLS]": ("bos",), "[SEP]": ("eos", "seperator"), "[UNK]": ("unknown",)}
_BERT_MARKS |= {"[PAD]": ("padding",), "[MASK]": ("mask",)}


def rwkv_vocabulary(path: Path, config: Mapping[str, Any]) -> Vocabulary:
    """Lines of an id, a Python literal, and its length in bytes. Errors: FormatError naming the line."""
    tokens = ["<s>"]
    for number, line in enumerate(filter(None, read_lines(path)), 1):
        first, _, rest = line.partition(" ")
        literal, _, size = rest.rpartition(" ")
        try:
            value = ast.literal_eval(literal)
            data = value.encode() if isinstance(value, str) else value
            if not isinstance(data, bytes) or int(first) != number or len(data) != int(size):
                raise ValueError("id and length do not fit")
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise FormatError(f"{path}: line {number} is {line[:60]!a}: {error}") from error
        tokens.append(repr(data)[2:-1])
    vocabulary = Vocabulary(path, tokens, [CONTROL] + [NORMAL] * (len(tokens) - 1))
    vocabulary.pad(config["vocab_size"] if isinstance(config.get("vocab_size"), int) else 0)
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    if len(tokens) > _RWKV_TURN_END:
        ids["eot_token_id"] = _RWKV_TURN_END
    vocabulary.more |= {"model": "rwkv", **ids}
    return vocabulary


def plamo2_vocabulary(path: Path, config: Mapping[str, Any]) -> Vocabulary:
    """Lines of a JSON list: token, score, type, and more. Errors: FormatError naming the line."""
    vocabulary = Vocabulary(path, scores=[])
    for number, line in enumerate(filter(str.strip, read_lines(path)), 1):
        try:
            token, score, kind = [*json.loads(line), "NORMAL"][:3]
            vocabulary.scores.append(float(score))  # type: ignore[union-attr]
            is_mark = token.startswith("<|plamo:") and token.endswith("|>")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: line {number} is {line[:60]!a}, needed: [token, score, type]") from error
        vocabulary.tokens.append(token)
        vocabulary.types.append(_PLAMO_TYPES.get(kind, CONTROL if is_mark else NORMAL))
    missing = (config["vocab_size"] if isinstance(config.get("vocab_size"), int) else 0) - len(vocabulary.tokens)
    vocabulary.pad(len(vocabulary.tokens) + max(missing, 0))
    for i in range(max(missing, 0)):  # counted from 1 here
        vocabulary.tokens[i - missing] = f"[PAD{i + 1}]"
        vocabulary.scores[i - missing] = _PLAMO_ADDED_SCORE  # type: ignore[index]
    keys = {"model": "plamo2", "pre": "default", "add_space_prefix": False}
    vocabulary.more |= {**keys, "eot_token_id": _PLAMO_TURN_END}
    return vocabulary


def wordpiece_list(path: Path, config: Mapping[str, Any]) -> Vocabulary:
    """BERT's vocab.txt, folded as tokenizer_config.json says."""
    lines = read_lines(path)
    tokens = [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    vocabulary = numbered(path, ((text, number) for number, text in enumerate(tokens)), config.get("vocab_size"))
    for text, roles in _BERT_MARKS.items():
        if text in tokens:
            number = tokens.index(text)
            vocabulary.types[number] = CONTROL
            vocabulary.more |= {f"{role}_token_id": number for role in roles}
    settings = read_json_if_there(path.parent / "tokenizer_config.json")
    strip = settings.get("strip_accents")
    vocabulary.more |= {
        **{"model": "bert", "add_bos_token": True, "add_eos_token": True},
        "normalizer.lowercase": settings.get("do_lower_case", True) is True,
        **({"normalizer.strip_accents": strip} if isinstance(strip, bool) else {}),  # unsaid: as lowercase
    }
    return vocabulary
