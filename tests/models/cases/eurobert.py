from __future__ import annotations

from models.case import Case, Config, Weights, small

_PLAIN: Config = {
    "head_dim": None,
    "tie_word_embeddings": None,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def _stand_in(weights: Weights) -> tuple[Config, Weights]:
    """EuroBERT computes the same."""
    return small("EuroBertModel", "eurobert", **_PLAIN), weights


_SHAPES = {
    **{"embed_tokens.weight": (256, 64), "norm.weight": (64,)},
    **{f"layers.{i}.{name}_layernorm.weight": (64,) for i in range(2) for name in ("input", "post_attention")},
    **{f"layers.{i}.self_attn.{name}_proj.weight": (64, 64) for i in range(2) for name in "qo"},
    **{f"layers.{i}.self_attn.{name}_proj.weight": (32, 64) for i in range(2) for name in "kv"},
    **{f"layers.{i}.mlp.{name}_proj.weight": (128, 64) for i in range(2) for name in ("gate", "up")},
    **{f"layers.{i}.mlp.down_proj.weight": (64, 128) for i in range(2)},
}
ENCODERS = {
    "eurobert": Case(small("EuroBertModel", "eurobert", **_PLAIN)),
    "llama-embed": Case(
        small("LlamaBidirectionalModel", "llama_bidirec", **_PLAIN), shapes=_SHAPES, stand_in=_stand_in
    ),
}
