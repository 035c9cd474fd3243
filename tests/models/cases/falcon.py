from __future__ import annotations

from models.case import Case

_SIZES = {
    **{"architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 2, "vocab_size": 256, "bias": False, "parallel_attn": True, "alibi": False},
    **{"bos_token_id": 0, "eos_token_id": 1, "activation": "gelu"},
}

CASES = {
    "falcon-7b": Case({**_SIZES, "multi_query": True, "new_decoder_architecture": False}),
    "falcon-40b": Case({**_SIZES, "num_kv_heads": 2, "new_decoder_architecture": True}),
}
