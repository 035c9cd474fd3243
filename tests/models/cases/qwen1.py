from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small

_CONFIG = {
    **{"architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 2, "intermediate_size": 256, "seq_length": 512, "vocab_size": 256, "kv_channels": 16},
    **{"layer_norm_epsilon": 1e-5, "rotary_emb_base": 10000, "tie_word_embeddings": False, "no_bias": True},
}
_SHAPES = {
    **{"transformer.wte.weight": (256, 64), "transformer.ln_f.weight": (64,), "lm_head.weight": (256, 64)},
    **{
        f"transformer.h.{i}.{name}": shape
        for i in range(2)
        for name, shape in {
            **{"ln_1.weight": (64,), "ln_2.weight": (64,), "attn.c_attn.weight": (192, 64), "attn.c_attn.bias": (192,)},
            **{"attn.c_proj.weight": (64, 64), "mlp.w1.weight": (128, 64), "mlp.w2.weight": (128, 64)},
            "mlp.c_proj.weight": (64, 128),
        }.items()
    },
}
_NAMES = {
    **{"transformer.h.": "model.layers.", "transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.norm"},
    **{"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_proj": "self_attn.o_proj"},
    **{"mlp.w1": "mlp.up_proj", "mlp.w2": "mlp.gate_proj", "mlp.c_proj": "mlp.down_proj"},
}


def _as_qwen2(weights: Weights) -> tuple[Config, Weights]:
    found = {}
    for name, values in weights.items():
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        if "c_attn" in name:
            for part, rows in zip("qkv", np.split(values, 3), strict=True):
                found[name.replace("attn.c_attn", f"self_attn.{part}_proj")] = rows
        else:
            found[name] = values
    return small("Qwen2ForCausalLM", "qwen2", num_key_value_heads=4, use_sliding_window=False), found


CASES = {"qwen": Case(_CONFIG, shapes=_SHAPES, stand_in=_as_qwen2)}
