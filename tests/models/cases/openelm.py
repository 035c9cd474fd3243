from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small

_CONFIG = {
    **{"architectures": ["OpenELMForCausalLM"], "model_type": "openelm", "model_dim": 64, "head_dim": 16},
    **{"num_transformer_layers": 2, "num_query_heads": [4, 4], "num_kv_heads": [2, 2], "ffn_multipliers": [2.0, 2.0]},
    **{"ffn_dim_divisor": 32, "max_context_length": 512, "vocab_size": 256, "rope_freq_constant": 10000},
    **{"normalize_qk_projections": True, "ffn_with_glu": True, "share_input_output_layers": True},
}
_SHAPES = {
    **{"transformer.token_embeddings.weight": (256, 64), "transformer.norm.weight": (64,)},
    **{
        f"transformer.layers.{i}.{name}.weight": shape
        for i in range(2)
        for name, shape in {
            **{"attn_norm": (64,), "ffn_norm": (64,), "attn.q_norm": (16,), "attn.k_norm": (16,)},
            **{"attn.qkv_proj": (128, 64), "attn.out_proj": (64, 64), "ffn.proj_1": (256, 64), "ffn.proj_2": (64, 128)},
        }.items()
    },
}
_NAMES = {
    **{"transformer.": "model.", "token_embeddings": "embed_tokens", ".attn_norm": ".input_layernorm"},
    **{".ffn_norm": ".post_attention_layernorm", ".attn.out_proj": ".self_attn.o_proj"},
    **{".attn.q_norm": ".self_attn.q_norm", ".attn.k_norm": ".self_attn.k_norm", "ffn.proj_2": "mlp.down_proj"},
}


def _as_qwen3(weights: Weights) -> tuple[Config, Weights]:
    found = {}
    for name, values in weights.items():
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        if "qkv_proj" in name:
            for part, rows in zip("qkv", np.split(values, (64, 96)), strict=True):
                found[name.replace("attn.qkv_proj", f"self_attn.{part}_proj")] = rows
        elif "proj_1" in name:
            for part, rows in zip(("gate", "up"), np.split(values, 2), strict=True):
                found[name.replace("ffn.proj_1", f"mlp.{part}_proj")] = rows
        else:
            found[name] = values
    return small("Qwen3ForCausalLM", "qwen3", tie_word_embeddings=True, rms_norm_eps=1e-6), found


CASES = {"openelm": Case(_CONFIG, shapes=_SHAPES, stand_in=_as_qwen3)}
