"""What the Llama files from before GGUF leave out or name otherwise: tensor names, metadata, and the vocabulary.

Source: Meta's llama/model.py (names, epsilon, rotary base); llama.cpp's convert-pth-to-ggml.py of 2023 (how it wrote
tokens) and convert_llama_ggml_to_gguf.py (how they are read).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pacos.errors import FormatError
from pacos.formats.gguf_types import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED
from pacos.types import TensorEntry

NORM_EPSILON = 1e-5
FIRST_BYTE, BYTES_END = 3, 259  # of SentencePiece's vocabularies with byte fallback

_ENDS = {"tok_embeddings": "token_embd", "norm": "output_norm", "output": "output"}
_BLOCK = {
    **{"attention.wq": "attn_q", "attention.wk": "attn_k", "attention.wv": "attn_v", "attention.wo": "attn_output"},
    **{"feed_forward.w1": "ffn_gate", "feed_forward.w2": "ffn_down", "feed_forward.w3": "ffn_up"},
    **{"attention_norm": "attn_norm", "ffn_norm": "ffn_norm"},
}
_LAYER = re.compile(r"layers\.(0|[1-9]\d{0,3})\.(.+)")
_LAYERS_MAX, _SIZE_MAX = 1024, 1 << 24
_NEEDLESS = frozenset({"rope.freqs"})


def gguf_name(name: str) -> str | None:
    """GGUF's name of a tensor that Meta's code names `name`; None for what no model needs or knows."""
    stem, _, ending = name.rpartition(".")
    if name in _NEEDLESS or ending != "weight":
        return None
    found = _LAYER.fullmatch(stem)
    if found is None:
        return f"{_ENDS[stem]}.weight" if stem in _ENDS else None
    part = _BLOCK.get(found[2])
    return part and f"blk.{found[1]}.{part}.weight"


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Sizes of a Llama model. Units: `context` in tokens."""

    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    context: int
    vocab: int

    def check(self, where: str) -> None:
        """Errors: FormatError when no model can have these sizes."""
        sizes = {
            name: getattr(self, name)
            for name in ("width", "hidden", "layers", "heads", "key_heads", "context", "vocab")
        }
        for name, value in sizes.items():
            limit = _LAYERS_MAX if name == "layers" else _SIZE_MAX
            if not 0 < value <= limit:
                raise FormatError(f"{where}: {name} is {value}, needed: 1 to {limit}", hint="is the file damaged?")
        if self.width % self.heads or self.heads % self.key_heads:
            problem = f"{where}: a width of {self.width} in {self.heads} heads, {self.key_heads} for keys"
            raise FormatError(problem, hint="needed: heads that divide the width, and key heads that divide the heads")

    def metadata(self, name: str, epsilon: float = NORM_EPSILON) -> dict[str, Any]:
        """The metadata that a GGUF file of the model would have."""
        return {
            "general.architecture": "llama",
            "general.name": name,
            "llama.block_count": self.layers,
            "llama.embedding_length": self.width,
            "llama.feed_forward_length": self.hidden,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.key_heads,
            "llama.attention.layer_norm_rms_epsilon": epsilon,
            "llama.rope.dimension_count": self.width // self.heads,
            "llama.rope.freq_base": 10000.0,
            "llama.context_length": self.context,
            "llama.vocab_size": self.vocab,
        }


def vocabulary_metadata(pieces: Sequence[bytes], scores: Sequence[float] | None) -> dict[str, Any]:
    """A SentencePiece vocabulary in GGUF's words, of pieces whose words begin with a space.

    The first three are unknown, begin and end; then bytes may follow, as one byte each or written `<0x0A>`. Without
    `scores`, earlier pieces are better ones, as SentencePiece orders them.
    """
    tokens, kinds = [], []
    for i, piece in enumerate(pieces):
        kind, token = NORMAL, piece.decode("utf-8", "surrogateescape").replace(" ", "▁")
        if i < FIRST_BYTE:
            kind, token = (UNKNOWN, "<unk>") if i == 0 else (CONTROL, ("<s>", "</s>")[i - 1])
        elif i < BYTES_END and (len(piece) == 1 or re.fullmatch(rb"<0x[0-9A-F]{2}>", piece)):
            kind, token = BYTE, f"<0x{i - FIRST_BYTE:02X}>"
        tokens.append(token)
        kinds.append(kind)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": list(scores) if scores is not None else [_rank_score(i) for i in range(len(pieces))],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def numbers_alone(count: int) -> dict[str, Any]:
    """The metadata of a model without a vocabulary: it takes and gives token numbers."""
    return {
        "tokenizer.ggml.model": "no_vocab",
        "tokenizer.ggml.tokens": [f"[PAD{number}]" for number in range(count)],
        "tokenizer.ggml.token_type": [UNUSED] * count,
    }


def _rank_score(token: int) -> float:
    return float(min(0, BYTES_END - token))


def shape_of_tensors(where: str, tensors: dict[str, TensorEntry], name: str, axis: int) -> int:
    """One size of a tensor that must be there. Errors: FormatError when it is missing or of another rank."""
    entry = tensors.get(name)
    if entry is None or len(entry.shape) <= axis:
        raise FormatError(f"{where}: tensor {name} is missing or a vector", hint="is the file complete?")
    return entry.shape[axis]
