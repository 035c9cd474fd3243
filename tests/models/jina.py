"""A tiny random model of Jina's second BERT, as a GGUF file and as a folder, and its hidden states by plain numpy."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
from models.tiny import CONTEXT, HEADS, HIDDEN, LAYERS, VOCAB, WIDTH, word_pieces
from safetensors.numpy import save_file

from pacos.formats.gguf_write import TensorData, write_gguf

_EPS = 1e-12


def weights() -> dict[str, np.ndarray]:
    """Tensors by their GGUF names, f32; the second layer has norms on queries and keys, and one more."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, WIDTH), "token_types.weight": (2, WIDTH)}
    norms = ["token_embd_norm"]
    for i in range(LAYERS):
        at = f"blk.{i}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes |= {f"{at}{name}.weight": (WIDTH, WIDTH), f"{at}{name}.bias": (WIDTH,)}
        shapes |= {f"{at}{name}.weight": (HIDDEN, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"{at}ffn_down.weight": (WIDTH, HIDDEN), f"{at}ffn_down.bias": (WIDTH,)}
        norms += [f"{at}attn_output_norm", f"{at}layer_output_norm"]
        norms += [f"{at}{name}" for name in ("attn_q_norm", "attn_k_norm", "attn_norm_2")] if i else []
    shapes |= {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}
    found = {}
    for name, shape in shapes.items():
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
        found[name] = values * np.float32(0.1) + np.float32(name.endswith(("norm.weight", "norm_2.weight")))
    return found


_ENCODER = "encoder.layer"


def folder_tensors() -> dict[str, np.ndarray]:
    """The same as folders have them, the first layer as models for text do, the second as that for code."""
    found, own = {}, weights()
    for name, values in own.items():
        place, _, part = name.partition(".")
        if place != "blk":
            outer = {"token_embd": "word_embeddings", "token_types": "token_type_embeddings"}.get(place, "LayerNorm")
            found[f"embeddings.{outer}.{part}"] = values
            continue
        layer, inner, kind = part.split(".")
        if inner in _NAMES:
            found[f"{_ENCODER}.{layer}.{_NAMES[inner][int(layer)]}.{kind}"] = values
    for i, (first, second, name) in enumerate((("gate", "up", "gated_layers"), ("up", "gate", "up_gated_layer"))):
        halves = [own[f"blk.{i}.ffn_{part}.weight"] for part in (first, second)]
        found[f"{_ENCODER}.{i}.mlp.{name}.weight"] = np.concatenate(halves)
    return found


_NAMES = {
    **{f"attn_{one[0]}": (f"attention.self.{one}",) * 2 for one in ("query", "key", "value")},
    **{"attn_output": ("attention.output.dense",) * 2, "attn_output_norm": ("attention.output.LayerNorm",) * 2},
    **{"ffn_down": ("mlp.wo", "mlp.down_layer"), "layer_output_norm": ("mlp.layernorm", "layer_norm_2")},
    **{"attn_q_norm": ("", "attention.self.layer_norm_q"), "attn_k_norm": ("", "attention.self.layer_norm_k")},
    "attn_norm_2": ("", "layer_norm_1"),
}


def write_folder(folder: Path) -> Path:
    """The model as Jina AI's folders hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **{"architectures": ["JinaBertForMaskedLM"], "model_type": "bert", "hidden_size": WIDTH, "hidden_act": "gelu"},
        **{"intermediate_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS},
        **{"vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "layer_norm_eps": _EPS, "type_vocab_size": 2},
        **{"position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": "mean", "pad_token_id": 0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(word_pieces()))
    tensors = {name: np.ascontiguousarray(values) for name, values in folder_tensors().items()}
    save_file({f"bert.{name}": values for name, values in tensors.items()}, folder / "model.safetensors")
    return folder


def write_file(path: Path) -> Path:
    """The model with a vocabulary of no words."""
    key = "jina-bert-v2"
    metadata = {
        "general.architecture": key,
        **{f"{key}.block_count": LAYERS, f"{key}.embedding_length": WIDTH, f"{key}.feed_forward_length": HIDDEN},
        **{f"{key}.context_length": CONTEXT, f"{key}.attention.head_count": HEADS, f"{key}.pooling_type": 1},
        **{f"{key}.attention.layer_norm_epsilon": _EPS, f"{key}.attention.causal": False},
        "tokenizer.ggml.model": "no_vocab",
        "tokenizer.ggml.tokens": [f"[PAD{i}]" for i in range(VOCAB)],
    }
    tensors = [
        TensorData(name, values.shape, "F32", lambda v=values: [v.tobytes()]) for name, values in weights().items()
    ]
    write_gguf(path, metadata, tensors)
    return path


def by_hand(ids: list[int]) -> np.ndarray:
    """Hidden states in double precision: arXiv:2310.19923, with ALiBi both ways (arXiv:2108.12409)."""
    t = {name: one.astype(np.float64) for name, one in weights().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPS)
        return scaled * t[f"{name}.weight"] + t[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0)

    x = norm(t["token_embd.weight"][ids] + t["token_types.weight"][0], "token_embd_norm")
    distance = np.abs(np.arange(len(ids))[:, None] - np.arange(len(ids)))
    for i in range(LAYERS):
        at = f"blk.{i}."
        q, k, v = (dense(x, f"{at}attn_{part}") for part in "qkv")
        if i:
            q, k = norm(q, f"{at}attn_q_norm"), norm(k, f"{at}attn_k_norm")
        heads = []
        for head, own in enumerate(np.split(np.arange(WIDTH), HEADS)):
            scores = q[:, own] @ k[:, own].T / math.sqrt(WIDTH // HEADS) - distance * 2.0 ** (-8 * (head + 1) / HEADS)
            scores = np.exp(scores)
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, own])
        before, x = x, norm(x + dense(np.concatenate(heads, axis=1), f"{at}attn_output"), f"{at}attn_output_norm")
        if i:
            x = norm(x + before, f"{at}attn_norm_2")
        gate = dense(x, f"{at}ffn_gate")
        gate = gate * (1 + np.vectorize(math.erf)(gate / math.sqrt(2))) / 2
        x = norm(x + dense(gate * dense(x, f"{at}ffn_up"), f"{at}ffn_down"), f"{at}layer_output_norm")
    return x
