"""Write models with random weights: for benchmarks of speed and for tests, where what is said does not matter.

A palette of blocks is quantized once for each tensor type and then drawn from, so that a file of a billion weights
takes seconds. Its tokenizer is synthetic but sound: bytes, and merges of letters.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from pacos import quants
from pacos.errors import UsageError
from pacos.formats.gguf_types import I32, STRING
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.file_types import FILE_TYPES, file_type_metadata
from pacos.hub.mixes import Mix
from pacos.lazy import np
from pacos.types import TensorEntry

Progress = Callable[[float], object]

_PALETTE_WEIGHTS = 1 << 19
_PIECE_BYTES = 1 << 24
_SPREAD = 0.02
_NORMAL, _CONTROL = 1, 3
_SPECIAL_TOKENS = 256
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a Llama model with tied embeddings, or of a Mixtral."""

    layers: int
    width: int
    heads: int
    key_heads: int
    head_width: int
    hidden: int
    vocab_size: int
    context_length: int = 131072
    experts: int = 0
    experts_used: int = 0


PRESETS = {
    "tiny": Form(2, 256, 4, 2, 64, 512, 1024, 2048),
    "100m": Form(8, 768, 12, 4, 64, 2048, 32000),
    "1b": Form(16, 2048, 32, 8, 64, 8192, 128256),  # Llama 3.2 1B
    "3b": Form(28, 3072, 24, 8, 128, 8192, 128256),  # Llama 3.2 3B
    "moe": Form(24, 1024, 16, 4, 64, 2048, 32000, experts=8, experts_used=2),  # 1.3 billion weights
    "8b": Form(32, 4096, 32, 8, 128, 14336, 128256),  # Llama 3.1 8B, but tied
}


def write_random_model(
    path: str | os.PathLike[str],
    architecture: str = "llama",
    preset: str = "1b",
    type: str = "Q4_K_M",
    seed: int = 0,
    progress: Progress | None = None,
) -> int:
    """Write a GGUF file of a preset's form and give its size in bytes; the same seed gives the same file.

    Errors: UsageError for an unknown architecture, preset or type.
    """
    if architecture != "llama" or preset not in PRESETS:
        hint = f"architecture llama; presets: {', '.join(PRESETS)}"
        raise UsageError(f"no random model {architecture!a} {preset!a}", hint=hint)
    form = PRESETS[preset]
    entries = {entry.name: entry for entry in _entries(form)}
    mix = Mix.of(type.upper(), _hyper_parameters(form, preset), entries)
    metadata = {**_hyper_parameters(form, preset), **file_type_metadata(FILE_TYPES[mix.file_type]), **_tokenizer(form)}
    types = {name: mix.type_of(entry) for name, entry in entries.items()}
    palettes = {kind: _palette(kind, seed) for kind in sorted(set(types.values()))}
    tensors = []
    for i, (name, entry) in enumerate(entries.items()):
        pieces = _pieces(entry, palettes[types[name]], (seed, i))
        made = pieces if progress is None else _counted(pieces, i / len(entries), progress)
        tensors.append(TensorData(name, entry.shape, types[name], made))
    return write_gguf(path, metadata, tensors)


def _counted(pieces: Callable[[], Iterator[Any]], share: float, progress: Progress) -> Callable[[], Iterator[Any]]:
    def make() -> Iterator[Any]:
        progress(share)
        return pieces()

    return make


def _entries(form: Form) -> Iterator[TensorEntry]:
    def entry(name: str, *shape: int) -> TensorEntry:
        return TensorEntry(f"{name}.weight", shape, "F32", 0, 0, 0)

    yield entry("token_embd", form.vocab_size, form.width)
    yield entry("output_norm", form.width)
    for i in range(form.layers):
        yield entry(f"blk.{i}.attn_norm", form.width)
        yield entry(f"blk.{i}.attn_q", form.heads * form.head_width, form.width)
        yield entry(f"blk.{i}.attn_k", form.key_heads * form.head_width, form.width)
        yield entry(f"blk.{i}.attn_v", form.key_heads * form.head_width, form.width)
        yield entry(f"blk.{i}.attn_output", form.width, form.heads * form.head_width)
        yield entry(f"blk.{i}.ffn_norm", form.width)
        if form.experts:
            yield entry(f"blk.{i}.ffn_gate_inp", form.experts, form.width)
        stack, ending = ((form.experts,), "_exps") if form.experts else ((), "")
        yield entry(f"blk.{i}.ffn_gate{ending}", *stack, form.hidden, form.width)
        yield entry(f"blk.{i}.ffn_up{ending}", *stack, form.hidden, form.width)
        yield entry(f"blk.{i}.ffn_down{ending}", *stack, form.width, form.hidden)


def _hyper_parameters(form: Form, preset: str) -> dict[str, Any]:
    return {
        "general.architecture": "llama",
        "general.name": f"random {preset}",
        "llama.block_count": form.layers,
        "llama.context_length": form.context_length,
        "llama.embedding_length": form.width,
        "llama.feed_forward_length": form.hidden,
        "llama.attention.head_count": form.heads,
        "llama.attention.head_count_kv": form.key_heads,
        "llama.attention.key_length": form.head_width,
        "llama.attention.value_length": form.head_width,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": form.head_width,
        "llama.rope.freq_base": 500000.0,
        "llama.vocab_size": form.vocab_size,
        **({"llama.expert_count": form.experts, "llama.expert_used_count": form.experts_used} if form.experts else {}),
    }


def _tokenizer(form: Form) -> dict[str, Any]:
    """Byte-level BPE whose special tokens come last and are named like Llama 3's."""
    tokens, merges = _vocabulary(form.vocab_size - _SPECIAL_TOKENS)
    named = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    special = named + [f"<|reserved_special_token_{i}|>" for i in range(_SPECIAL_TOKENS - len(named))]
    first = len(tokens)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": STRING(tokens + special),
        "tokenizer.ggml.token_type": I32([_NORMAL] * first + [_CONTROL] * len(special)),
        "tokenizer.ggml.merges": STRING(merges),
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.eot_token_id": first + 4,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": _CHAT_TEMPLATE,
    }


def _vocabulary(size: int) -> tuple[list[str], list[str]]:
    """The 256 bytes in GPT-2's letters, then merges: two letters, words of three and four, with and without a space."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    tokens = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(hidden))]
    space = chr(256 + hidden.index(32))
    letters = "etaoinsrhldcumfpgwybvkxjqz"  # by frequency, so that common words are found first
    pairs = ["".join(two) for two in product(letters, repeat=2)]
    parts = [
        ((a, b) for a, b in product(letters, repeat=2)),
        ((space, letter) for letter in letters),
        ((space, pair) for pair in pairs),
        ((pair, letter) for pair, letter in product(pairs, letters)),
        ((space + pair, letter) for pair, letter in product(pairs, letters)),
        ((a, b) for a, b in product(pairs, pairs)),
    ]
    merges = []
    for left, right in (pair for part in parts for pair in part):
        if len(tokens) == size:
            break
        tokens.append(left + right)
        merges.append(f"{left} {right}")
    return tokens, merges


def _palette(kind: str, seed: int) -> Any:
    """Blocks of random weights. Shapes: [N, bytes of a block] u8; of F32 the vectors, which are ones."""
    fmt = quants.block_format(kind)
    random = np.random.Generator(np.random.PCG64((seed, fmt.type_id)))
    weights = random.standard_normal((_PALETTE_WEIGHTS // 256, 256), np.float32) * np.float32(_SPREAD)
    return np.frombuffer(quants.quantize(kind, weights), np.uint8).reshape(-1, fmt.block_bytes)


def _pieces(entry: TensorEntry, palette: Any, seed: tuple[int, int]) -> Callable[[], Iterator[Any]]:
    def make() -> Iterator[Any]:
        if len(entry.shape) == 1:
            yield np.ones(entry.shape, np.float32)
            return
        random = np.random.Generator(np.random.PCG64(seed))
        blocks = math.prod(entry.shape) * len(palette) // _PALETTE_WEIGHTS
        step = max(1, _PIECE_BYTES // palette.shape[1])
        for start in range(0, blocks, step):
            yield palette[random.integers(0, len(palette), min(step, blocks - start))]

    return make
