from __future__ import annotations

from models.case import Case, Config, Weights, small

_SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "lm_head.weight": (256, 64)},
    **{"model.norm.weight": (64,), "model.norm.bias": (64,)},
    **{
        f"model.layers.{i}.{name}": shape
        for i in range(2)
        for name, shape in {
            **{
                f"{norm}_layernorm.{kind}": (64,) for norm in ("input", "post_attention") for kind in ("weight", "bias")
            },
            **{f"self_attn.{part}_proj.weight": (64 if part in "qo" else 32, 64) for part in "qkvo"},
            **{f"mlp.{part}_proj.weight": (128, 64) for part in ("gate", "up")},
            "mlp.down_proj.weight": (64, 128),
        }.items()
    },
}


def _as_stablelm(weights: Weights) -> tuple[Config, Weights]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    config = small("StableLmForCausalLM", "stablelm", rope_parameters=rope, layer_norm_eps=1e-5, head_dim=None)
    return config, weights


CASES = {"orion": Case(small("OrionForCausalLM", "orion", head_dim=None), shapes=_SHAPES, stand_in=_as_stablelm)}
