from __future__ import annotations

from models.case import Case, small

_KINDS = ["sliding_attention", "full_attention"]
_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
}
_GEMMA4 = {
    **{"hidden_activation": "gelu_pytorch_tanh", "hidden_act": None, "tie_word_embeddings": True, "pad_token_id": 0},
    **{"sliding_window": 40, "global_head_dim": 32, "final_logit_softcapping": 30.0, "rope_parameters": _ROPE},
    "vocab_size_per_layer_input": 256,
}
_SMALL = {"num_hidden_layers": 4, "layer_types": 2 * _KINDS, "num_kv_shared_layers": 2, "use_double_wide_mlp": True}
_LARGE = {"layer_types": _KINDS, "attention_k_eq_v": True, "num_global_key_value_heads": 1}

CASES = {
    "gemma4-small": Case(
        small("Gemma4ForCausalLM", "gemma4_text", **_GEMMA4, **_SMALL, hidden_size_per_layer_input=16),
        embedding_spread=0.06,
        centres={"layer_scalar": 1.0},
    ),
    "gemma4-large": Case(
        small("Gemma4ForCausalLM", "gemma4_text", **_GEMMA4, **_LARGE, hidden_size_per_layer_input=0),
        embedding_spread=0.06,
        centres={"layer_scalar": 1.0},
    ),
}
