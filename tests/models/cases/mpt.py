from __future__ import annotations

from models.case import Case

CASES = {
    "mpt": Case(
        {
            **{"architectures": ["MptForCausalLM"], "model_type": "mpt", "d_model": 96, "n_heads": 6, "n_layers": 2},
            **{"max_seq_len": 512, "vocab_size": 256, "no_bias": True},
            "attn_config": {"alibi": True, "alibi_bias_max": 8, "clip_qkv": 2.0},
        }
    )
}
