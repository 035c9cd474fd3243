from __future__ import annotations

from models.case import Case, small

_KINDS = {"num_hidden_layers": 4, "layer_types": [*["sliding_attention"] * 3, "full_attention"], "sliding_window": 40}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_ROPE = {"rope_parameters": {**_LLAMA3, "original_max_position_embeddings": 64}}

CASES = {
    "exaone": Case(
        small(
            *("ExaoneForCausalLM", "exaone"),
            **{**_ROPE, "num_layers": 2, "layer_norm_epsilon": 1e-5, "activation_function": "silu"},
            num_hidden_layers=None,
            rms_norm_eps=None,
            hidden_act=None,
        )
    ),
    "exaone4": Case(
        small(*("Exaone4ForCausalLM", "exaone4"), **_KINDS, **_ROPE),
        peer="knows windows in models of 64 layers alone",
    ),
    "exaone4-whole": Case(
        {**small("Exaone4ForCausalLM", "exaone4", layer_types=["full_attention"] * 2), "sliding_window": None}
    ),
    "exaone-moe": Case(
        small(
            *("ExaoneMoeForCausalLM", "exaone_moe"),
            **{**_KINDS, "num_experts": 6, "num_experts_per_tok": 2, "num_shared_experts": 1, "n_group": 1},
            moe_intermediate_size=64,
            routed_scaling_factor=2.5,
            topk_group=1,
            first_k_dense_replace=1,
            norm_topk_prob=True,
        )
    ),
}
