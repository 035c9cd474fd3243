"""Mixtures of experts of 2025 and 2026: sigmoid routers whose choice has a bias, behind layers without experts."""

from __future__ import annotations

from models.case import Case, small

_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 64}
_KINDS = {"num_hidden_layers": 4, "layer_types": [*["sliding_attention"] * 3, "full_attention"], "sliding_window": 40}

CASES = {
    "lfm2moe": Case(
        small(
            *("Lfm2MoeForCausalLM", "lfm2_moe"),
            **{**_EXPERTS, "num_experts": 6, "num_dense_layers": 1, "num_hidden_layers": 3, "norm_topk_prob": True},
            layer_types=["conv", "full_attention", "conv"],
            conv_L_cache=3,
            norm_eps=1e-5,
            routed_scaling_factor=1.0,
            use_expert_bias=True,
            tie_word_embeddings=True,
            rms_norm_eps=None,
        )
    ),
    "dots1": Case(
        small(
            *("Dots1ForCausalLM", "dots1"),
            **{**_EXPERTS, "n_routed_experts": 6, "n_shared_experts": 2, "first_k_dense_replace": 1, "n_group": 1},
            num_key_value_heads=4,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            topk_group=1,
            scoring_func="sigmoid",
            max_window_layers=2,
        )
    ),
    "afmoe": Case(
        small(
            *("AfmoeForCausalLM", "afmoe"),
            **{**_EXPERTS, **_KINDS, "num_experts": 6, "num_shared_experts": 1, "num_dense_layers": 1},
            route_norm=True,
            route_scale=2.5,
            score_func="sigmoid",
            mup_enabled=True,
        )
    ),
}
