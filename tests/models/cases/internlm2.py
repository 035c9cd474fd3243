from __future__ import annotations

from models.case import Case, Config, Weights, small

_CONFIG = small("InternLM2ForCausalLM", "internlm2")
_SHAPES = {
    **{"model.tok_embeddings.weight": (256, 64), "model.norm.weight": (64,), "output.weight": (256, 64)},
    **{
        f"model.layers.{i}.{name}.weight": shape
        for i in range(2)
        for name, shape in {
            "attention_norm": (64,),
            "ffn_norm": (64,),
            "attention.wqkv": (128, 64),
            "attention.wo": (64, 64),
            "feed_forward.w1": (128, 64),
            "feed_forward.w3": (128, 64),
            "feed_forward.w2": (64, 128),
        }.items()
    },
}
_NAMES = {
    "tok_embeddings": "embed_tokens",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}


def _as_llama(weights: Weights) -> tuple[Config, Weights]:
    """Each key head lies behind the two query heads that share it, and its value head behind it."""
    found = {}
    for name, values in weights.items():
        if "wqkv" in name:
            groups = values.reshape(2, 4, 16, 64)  # [K, queries and key and value, E, D]
            at = name.replace("attention.wqkv.weight", "self_attn")
            found[f"{at}.q_proj.weight"] = groups[:, :2].reshape(64, 64)
            found[f"{at}.k_proj.weight"] = groups[:, 2].reshape(32, 64)
            found[f"{at}.v_proj.weight"] = groups[:, 3].reshape(32, 64)
            continue
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        found["lm_head.weight" if name == "output.weight" else name] = values
    return small("LlamaForCausalLM", "llama"), found


CASES = {"internlm2": Case(_CONFIG, shapes=_SHAPES, stand_in=_as_llama)}
