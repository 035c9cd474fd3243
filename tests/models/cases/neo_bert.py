from __future__ import annotations

import numpy as np
from models.case import CONTEXT, HEADS, LAYERS, VOCAB, Case, Config, Weights
from models.encoding import attention, rms_norm, silu, turned

_WIDTH, _HIDDEN, _EPS = 64, 64, 1e-5  # two thirds of 96 that the config says
_CONFIG: Config = {
    **{"architectures": ["NeoBERT"], "model_type": "neobert", "hidden_size": _WIDTH, "intermediate_size": 96},
    **{"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB, "norm_eps": _EPS},
    **{"max_length": CONTEXT, "pad_token_id": 0},
}


def _shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.encoder.weight": (VOCAB, _WIDTH), "model.layer_norm.weight": (_WIDTH,)}
    for i in range(LAYERS):
        at = f"model.transformer_encoder.{i}"
        found |= {f"{at}.qkv.weight": (3 * _WIDTH, _WIDTH), f"{at}.wo.weight": (_WIDTH, _WIDTH)}
        found |= {f"{at}.ffn.w12.weight": (2 * _HIDDEN, _WIDTH), f"{at}.ffn.w3.weight": (_WIDTH, _HIDDEN)}
        found |= {f"{at}.{name}_norm.weight": (_WIDTH,) for name in ("attention", "ffn")}
    return found


def _by_hand(weights: Weights, ids: list[int]) -> np.ndarray:
    """Hidden states after arXiv:2502.19587 and its model.py: each head's queries, keys and values lie together."""
    t = {name.removeprefix("model."): one.astype(np.float64) for name, one in weights.items()}
    x = t["encoder.weight"][ids]
    for i in range(LAYERS):
        at = f"transformer_encoder.{i}"
        h = rms_norm(x, t[f"{at}.attention_norm.weight"], _EPS) @ t[f"{at}.qkv.weight"].T
        q, k, v = np.split(h.reshape(len(ids), HEADS, -1), 3, axis=-1)
        q, k = (turned(part, 10000.0, pairs=True) for part in (q, k))
        x = x + attention(q, k, v) @ t[f"{at}.wo.weight"].T
        gate, up = np.split(rms_norm(x, t[f"{at}.ffn_norm.weight"], _EPS) @ t[f"{at}.ffn.w12.weight"].T, 2, axis=1)
        x = x + (silu(gate) * up) @ t[f"{at}.ffn.w3.weight"].T
    return rms_norm(x, t["layer_norm.weight"], _EPS)


ENCODERS = {"neo-bert": Case(_CONFIG, word_pieces=True, shapes=_shapes(), by_hand=_by_hand)}
