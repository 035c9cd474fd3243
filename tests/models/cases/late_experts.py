"""Mixtures of experts of 2025 and 2026: sigmoid routers whose choice has a bias, behind layers without experts."""

from __future__ import annotations

from models.case import Case, small

_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
_TWO = {
    "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
_STRETCHED = {"full_attention": _YARN, "sliding_attention": _TWO["sliding_attention"]}
_PARTS = {"full_attention": 0.5, "sliding_attention": 1.0}
_LATENT = {
    **{"kv_lora_rank": 32, "qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "v_head_dim": 16, "q_lora_rank": 48},
    **{"head_dim": None, "num_key_value_heads": 4, "n_routed_experts": 6, "n_shared_experts": 1},
}
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
    "cohere2moe": Case(
        small(
            *("Cohere2MoeForCausalLM", "cohere2_moe"),
            **{**_EXPERTS, "moe_intermediate_size": None, "num_experts": 6, "num_shared_experts": 1},
            num_hidden_layers=5,
            layer_types=["full_attention", *_KINDS["layer_types"]],
            head_dim=16,
            sliding_window=40,
            prefix_dense_intermediate_size=96,
            first_k_dense_replace=1,
            expert_selection_fn="sigmoid",
            norm_topk_prob=True,
            logit_scale=0.5,
            layer_norm_eps=1e-5,
            rms_norm_eps=None,
            rope_parameters=None,
            rope_theta=10000.0,
            tie_word_embeddings=True,
        )
    ),
    "mistral4": Case(
        small(
            *("Mistral4ForCausalLM", "mistral4"),
            **{**_EXPERTS, **_LATENT, "norm_topk_prob": True, "routed_scaling_factor": 1.0, "rms_norm_eps": 1e-6},
            rope_parameters={**_YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.5},
        )
    ),
    "hy_v3": Case(
        small(
            *("HYV3ForCausalLM", "hy_v3"),
            **{**_EXPERTS, "num_experts": 6, "num_shared_experts": 1, "router_scaling_factor": 2.5},
        )
    ),
    "mellum": Case(
        small(
            *("MellumForCausalLM", "mellum"),
            **{**_EXPERTS, **_KINDS, "num_experts": 6, "norm_topk_prob": True, "rope_parameters": _STRETCHED},
        )
    ),
    "laguna": Case(
        small(
            *("LagunaForCausalLM", "laguna"),
            **{**_EXPERTS, "num_experts": 6, "shared_expert_intermediate_size": 96, "moe_routed_scaling_factor": 2.5},
            num_hidden_layers=4,
            layer_types=_KINDS["layer_types"][::-1],
            sliding_window=40,
            num_attention_heads_per_layer=[4, 6, 6, 6],
            gating="per-head",
            mlp_layer_types=["dense", *["sparse"] * 3],
            rope_parameters={key: {**one, "partial_rotary_factor": _PARTS[key]} for key, one in _TWO.items()},
        )
    ),
    "laguna-elements": Case(
        small(
            *("LagunaForCausalLM", "laguna"),
            **{
                **_EXPERTS,
                "num_experts": 6,
                "shared_expert_intermediate_size": 64,
                "sliding_window": 0,
                "moe_routed_scaling_factor": 2.5,
            },
            layer_types=["full_attention"] * 2,
            gating="per-element",
            mlp_layer_types=["dense", "sparse"],
            rope_parameters={"full_attention": _TWO["full_attention"]},
        )
    ),
}
