from __future__ import annotations

from models.case import Case, Config, Weights, small

SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,), "lm_head.weight": (256, 64)},
    **{
        f"model.layers.{i}.{name}.weight": shape
        for i in range(2)
        for name, shape in {
            **{"input_layernorm": (64,), "post_attention_layernorm": (64,)},
            **{f"self_attn.{part}_proj": (64, 64) for part in "qkvo"},
            **{"mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128)},
        }.items()
    },
}
_HEADS = {"num_key_value_heads": 4, "head_dim": None}


def _as_llama(weights: Weights) -> tuple[Config, Weights]:
    return small("LlamaForCausalLM", "llama", **_HEADS), weights


CASES = {
    "xverse": Case(small("XverseForCausalLM", "xverse", **_HEADS), shapes=SHAPES, stand_in=_as_llama),
}
