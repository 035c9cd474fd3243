from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small

_CONFIG = {
    **{"architectures": ["ChatGLMModel"], "model_type": "chatglm", "hidden_size": 64, "num_attention_heads": 4},
    **{"num_layers": 2, "ffn_hidden_size": 128, "kv_channels": 16, "multi_query_group_num": 2, "seq_length": 512},
    **{"padded_vocab_size": 256, "layernorm_epsilon": 1e-5, "multi_query_attention": True, "rmsnorm": True},
    **{"post_layer_norm": True, "original_rope": True, "add_qkv_bias": True, "tie_word_embeddings": False},
}
_SHAPES = {
    **{"transformer.embedding.word_embeddings.weight": (256, 64), "transformer.output_layer.weight": (256, 64)},
    "transformer.encoder.final_layernorm.weight": (64,),
    **{
        f"transformer.encoder.layers.{i}.{name}": shape
        for i in range(2)
        for name, shape in {
            **{"input_layernorm.weight": (64,), "post_attention_layernorm.weight": (64,)},
            **{"self_attention.query_key_value.weight": (128, 64), "self_attention.query_key_value.bias": (128,)},
            **{"self_attention.dense.weight": (64, 64), "mlp.dense_h_to_4h.weight": (256, 64)},
            "mlp.dense_4h_to_h.weight": (64, 128),
        }.items()
    },
}
_NAMES = {
    **{"transformer.embedding.word_embeddings": "model.embed_tokens", "transformer.output_layer": "lm_head"},
    **{"transformer.encoder.final_layernorm": "model.norm", "transformer.encoder.": "model."},
    **{"self_attention.dense": "self_attn.o_proj", "dense_h_to_4h": "gate_up_proj", "dense_4h_to_h": "down_proj"},
}


def _as_glm(weights: Weights) -> tuple[Config, Weights]:
    found = {}
    for name, values in weights.items():
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        if "query_key_value" in name:
            for part, rows in zip("qkv", np.split(values, (64, 96)), strict=True):
                found[name.replace("self_attention.query_key_value", f"self_attn.{part}_proj")] = rows
        else:
            found[name] = values
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return small("GlmForCausalLM", "glm", attention_bias=True, pad_token_id=0, rope_parameters=rope), found


CASES = {"chatglm3": Case(_CONFIG, shapes=_SHAPES, stand_in=_as_glm)}
