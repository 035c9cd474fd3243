"""Tiny random models of every family, as Hugging Face folders, the same on every machine.

Weights come from numpy's PCG64 with a seed, so that `make test` needs no torch: what transformers computes for them is
stored in `vectors/`, and the names and shapes of their tensors in `shapes/`, by `scripts/vectors`.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from models import case as cases
from models.case import CONTEXT, HEADS, HIDDEN, LAYERS, VOCAB, WIDTH, Case, Config

from pacos.hub.convert import convert
from pacos.models import Architecture, model_for_class

__all__ = ["CONTEXT", "HEADS", "HIDDEN", "LAYERS", "VOCAB", "WIDTH", "Case", "Config"]

PROMPTS = (1, 7, 64, 300)  # tokens; the last is longer than every window of a case
KEPT = 4  # last positions of each prompt whose logits are stored
PAIRS = 3
SHAPES = Path(__file__).parent / "shapes"

CASES = cases.every("CASES")
ENCODERS = cases.every("ENCODERS")


def case_of(name: str) -> Case:
    """The decoder or encoder of that name."""
    return CASES.get(name) or ENCODERS[name]


def architecture_of(case: str) -> Architecture:
    """The family that a folder of the case belongs to."""
    config = case_of(case).config
    return model_for_class(config["architectures"][0], config)[0]


def weights(case: str) -> dict[str, np.ndarray]:
    """Tensors by their Hugging Face names, f32."""
    model = case_of(case)
    tensors = {}
    shapes = model.shapes or json.loads((SHAPES / f"{case}.json").read_text())
    for name, shape in sorted(shapes.items()):
        random = np.random.Generator(np.random.PCG64(zlib.crc32(f"{case}/{name}".encode())))
        values = np.asarray(random.standard_normal(shape, np.float32))
        spread = 0.1 if len(shape) == 1 else model.embedding_spread if "embed" in name else model.spread
        norm = len(shape) == 1 and name.endswith("weight")
        centre = next((number for ending, number in model.centres.items() if name.endswith(ending)), None)
        centre = centre if centre is not None else model.norm if norm else 0.0
        tensors[name] = np.asarray(values * np.float32(spread) + np.float32(centre))
    return tensors


def rounded_weights(case: str) -> dict[str, np.ndarray]:
    """The weights as a Q8_0 file holds them, in f32: matrices are rounded, vectors and learned positions are not."""
    from pacos import quants

    def rounded(name: str, values: np.ndarray) -> np.ndarray:
        if values.ndim == 1 or name.endswith("wpe.weight"):
            return values
        turned = ".c_" in name  # GPT-2 keeps these [in, out]
        rows = values.T if turned else values
        packed = quants.dequantize("Q8_0", quants.quantize("Q8_0", rows), rows.shape)
        return np.ascontiguousarray(packed.T if turned else packed)

    return {name: rounded(name, values) for name, values in weights(case).items()}


def prompt(tokens: int) -> list[int]:
    """Token ids of the prompt of that length."""
    random = np.random.Generator(np.random.PCG64(tokens))
    return [int(one) for one in random.integers(2, VOCAB, tokens)]


def pair(seed: int) -> tuple[list[int], list[int]]:
    """Token ids of two texts that are compared, with marks as BERT has them."""
    return [2, *prompt(3 + seed), 3], [*prompt(30 + 7 * seed), 3]


def write_stand_in(case: str, folder: Path) -> Path:
    """Save what transformers is to compute: the model itself, or the one that stands in for it."""
    stand_in = case_of(case).stand_in
    if stand_in is None:
        return write_folder(case, folder)
    config, tensors = stand_in(weights(case))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    _save(tensors, folder)
    return folder


def write_folder(case: str, folder: Path, *, rounded: bool = False) -> Path:
    """Save the model as transformers would: config.json, model.safetensors, tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = word_pieces() if case_of(case).word_pieces else _tokenizer(marks=case_of(case).marks)
    (folder / "config.json").write_text(json.dumps(case_of(case).config, indent=1))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    _save(rounded_weights(case) if rounded else weights(case), folder)
    return folder


def write_gguf(case: str, folder: Path) -> Path:
    """The same as a GGUF file of floats."""
    path = folder / "model.gguf"
    convert(write_folder(case, folder / case), path, "F32")
    return path


def _save(tensors: dict[str, np.ndarray], folder: Path) -> None:
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(values) if values.ndim else values for name, values in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})


_ADDED = {"special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
_BYTES = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _tokenizer(*, marks: bool) -> Config:
    """Bytes alone, with two special tokens in the places of two control characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    rest = [byte for byte in range(256) if byte not in letters]
    letters |= {byte: chr(256 + i) for i, byte in enumerate(rest)}
    vocab = {letters[byte]: byte for byte in range(2, 256)} | {"<s>": 0, "</s>": 1}
    added = [{"id": i, "content": text, **_ADDED} for i, text in enumerate(("<s>", "</s>"))]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", **_BYTES},
        "post_processor": _marks() if marks else None,
        "decoder": {"type": "ByteLevel", **_BYTES},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


def _marks() -> Config:
    """Marks around a text."""
    first, last = ({"SpecialToken": {"id": text, "type_id": 0}} for text in ("<s>", "</s>"))
    one, other = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    named = {text: {"id": text, "ids": [i], "tokens": [text]} for i, text in enumerate(("<s>", "</s>"))}
    pair = [first, one, last, other, last]
    return {"type": "TemplateProcessing", "single": [first, one, last], "pair": pair, "special_tokens": named}


def word_pieces() -> Config:
    """Single letters as words and inside words, between marks."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [f"[unused{i}]" for i in range(VOCAB - len(pieces))]
    step = [{"SpecialToken": {"id": mark, "type_id": 0}} for mark in ("[CLS]", "[SEP]")]
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": mark, **_ADDED} for i, mark in enumerate(marks)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [step[0], {"Sequence": {"id": "A", "type_id": 0}}, step[1]],
        },
        "decoder": {"type": "WordPiece"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {one: i for i, one in enumerate(pieces)}},
    }
