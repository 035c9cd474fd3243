from __future__ import annotations

import numpy as np
from models.case import HEADS, VOCAB, Case, Config, Weights
from models.encoding import attention, gelu, layer_norm, softmax, turned

_WIDTH, _HIDDEN, _LAYERS, _EXPERTS, _USED, _EPS = 64, 128, 2, 4, 2, 1e-5  # the second layer has the experts

_CONFIG: Config = {
    **{"architectures": ["NomicBertModel"], "model_type": "nomic_bert", "n_embd": _WIDTH, "n_inner": _HIDDEN},
    **{"n_layer": _LAYERS, "n_head": HEADS, "n_positions": 2048, "max_trained_positions": 2048, "vocab_size": VOCAB},
    **{"layer_norm_epsilon": _EPS, "activation_function": "gelu", "causal": False, "type_vocab_size": 1},
    **{"qkv_proj_bias": True, "mlp_fc1_bias": True, "mlp_fc2_bias": True, "prenorm": False, "use_rms_norm": False},
    **{"rotary_emb_base": 10000.0, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False},
    **{"rotary_emb_scale_base": None, "num_experts": _EXPERTS, "moe_top_k": _USED, "moe_every_n_layers": 2},
    **{"moe_normalize_expert_weights": False, "expert_choice_router": False, "num_shared_experts": 0},
}


def _shapes(*, bias: bool) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB, _WIDTH),
        "embeddings.token_type_embeddings.weight": (1, _WIDTH),
    }
    norms = ["emb_ln"]
    for i in range(_LAYERS):
        at = f"encoder.layers.{i}"
        linear = {"attn.Wqkv": (3 * _WIDTH, _WIDTH), "attn.out_proj": (_WIDTH, _WIDTH)}
        if i % 2 == 1:
            found |= {f"{at}.mlp.experts.mlp.w{n}": (_EXPERTS * _HIDDEN, _WIDTH) for n in (1, 2)}
            found |= {f"{at}.mlp.router.layer.weight": (_EXPERTS, _WIDTH)}
            found |= {f"{at}.mlp.experts.bias": (_WIDTH,)} if bias else {}
        else:
            linear |= {"mlp.fc1": (_HIDDEN, _WIDTH), "mlp.fc2": (_WIDTH, _HIDDEN)}
        found |= {f"{at}.{name}.weight": shape for name, shape in linear.items()}
        found |= {f"{at}.{name}.bias": shape[:1] for name, shape in linear.items()}
        norms += [f"{at}.norm1", f"{at}.norm2"]
    return found | {f"{name}.{kind}": (_WIDTH,) for name in norms for kind in ("weight", "bias")}


def _by_hand(weights: Weights, ids: list[int]) -> np.ndarray:
    """Hidden states after Nomic AI's modeling_hf_nomic_bert.py."""
    t = {name: one.astype(np.float64) for name, one in weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(x, t[f"{name}.weight"], t[f"{name}.bias"], _EPS)

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0)

    def experts(x: np.ndarray, at: str) -> np.ndarray:
        shares = softmax(dense(x, f"{at}.router.layer"))
        w1, w2 = (t[f"{at}.experts.mlp.w{n}"].reshape(_EXPERTS, _HIDDEN, _WIDTH) for n in (1, 2))
        y = np.zeros_like(x) + t.get(f"{at}.experts.bias", 0)
        for token, row in enumerate(x):
            for one in np.argsort(-shares[token])[:_USED]:
                y[token] += shares[token, one] * (gelu(w1[one] @ row) @ w2[one])
        return y

    x = t["embeddings.word_embeddings.weight"][ids] + t["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "emb_ln")
    for i in range(_LAYERS):
        at = f"encoder.layers.{i}"
        q, k, v = (one.reshape(len(ids), HEADS, -1) for one in np.split(dense(x, f"{at}.attn.Wqkv"), 3, axis=1))
        q, k = (turned(part, 10000.0, pairs=False) for part in (q, k))
        x = norm(x + dense(attention(q, k, v), f"{at}.attn.out_proj"), f"{at}.norm1")
        y = experts(x, f"{at}.mlp") if i % 2 else dense(gelu(dense(x, f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
        x = norm(x + y, f"{at}.norm2")
    return x


# Where the bias behind experts is 0, a file has none and llama.cpp opens it.
ENCODERS = {
    "nomic-bert-moe": Case(_CONFIG, word_pieces=True, shapes=_shapes(bias=False), by_hand=_by_hand),
    "nomic-bert-moe-bias": Case(
        _CONFIG,
        word_pieces=True,
        shapes=_shapes(bias=True),
        by_hand=_by_hand,
        peer="opens no file with a bias behind experts",
    ),
}
