from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small

_SHAPES = {
    **{"model.embed_tokens.weight": (256, 32), "model.norm.weight": (32,), "lm_head.weight": (256, 32)},
    **{
        f"model.layers.{i}.{name}.weight": shape
        for i in range(32)
        for name, shape in {
            **{"input_layernorm": (32,), "post_attention_layernorm": (32,), "self_attn.W_pack": (96, 32)},
            **{"self_attn.o_proj": (32, 32), "mlp.gate_proj": (32, 32), "mlp.up_proj": (32, 32)},
            "mlp.down_proj": (32, 32),
        }.items()
    },
}
_LAYERS = 32  # by which files tell 7B from 13B
_HEADS = {
    "num_hidden_layers": _LAYERS,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_size": 32,
    "intermediate_size": 32,
}


def _as_llama(weights: Weights) -> tuple[Config, Weights]:
    found = {}
    for name, values in weights.items():
        if "W_pack" in name:
            for part, rows in zip("qkv", np.split(values, 3), strict=True):
                found[name.replace("W_pack", f"{part}_proj")] = rows
        else:
            found[name] = values
    return small("LlamaForCausalLM", "llama", **_HEADS), found


CASES = {
    "baichuan-7b": Case(small("BaichuanForCausalLM", "baichuan", **_HEADS), shapes=_SHAPES, stand_in=_as_llama),
}
