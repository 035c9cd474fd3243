from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small

_CONFIG = {
    **{"architectures": ["CodeShellForCausalLM"], "model_type": "codeshell", "n_embd": 64, "n_head": 4, "n_layer": 2},
    **{"n_positions": 512, "vocab_size": 256, "n_inner": 128, "num_query_groups": 2, "layer_norm_epsilon": 1e-5},
    **{"position_embedding_type": "rope", "activation_function": "gelu_pytorch_tanh", "tie_word_embeddings": False},
}
_SHAPES = {
    **{"transformer.wte.weight": (256, 64), "lm_head.weight": (256, 64)},
    **{"transformer.ln_f.weight": (64,), "transformer.ln_f.bias": (64,)},
    **{
        f"transformer.h.{i}.{name}.{kind}": shape if kind == "weight" else shape[:1]
        for i in range(2)
        for name, shape in {
            **{"ln_1": (64,), "ln_2": (64,), "attn.c_attn": (128, 64), "attn.c_proj": (64, 64)},
            **{"mlp.c_fc": (128, 64), "mlp.c_proj": (64, 128)},
        }.items()
        for kind in ("weight", "bias")
    },
}
_NAMES = {
    **{"transformer.h.": "model.layers.", "transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.norm"},
    **{"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", ".attn.c_proj": ".self_attn.o_proj"},
}
_UNIT = {"hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-5, "rms_norm_eps": None, "head_dim": None}


def _as_starcoder2(weights: Weights) -> tuple[Config, Weights]:
    found = {}
    for name, values in weights.items():
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        if "c_attn" in name:
            for part, rows in zip("qkv", np.split(values, (64, 96)), strict=True):
                found[name.replace("attn.c_attn", f"self_attn.{part}_proj")] = rows
        else:
            found[name] = values
    return small("Starcoder2ForCausalLM", "starcoder2", **_UNIT, sliding_window=None), found


CASES = {"codeshell": Case(_CONFIG, shapes=_SHAPES, stand_in=_as_starcoder2)}
