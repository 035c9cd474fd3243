from __future__ import annotations

from models.case import Case, small

_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_QWEN = {"use_sliding_window": False, "mlp_only_layers": [], "decoder_sparse_step": 1}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
_LATENT = {
    **{"head_dim": None, "num_key_value_heads": 4, "kv_lora_rank": 32, "qk_nope_head_dim": 24, "qk_rope_head_dim": 8},
    **{"v_head_dim": 16, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    **{"n_shared_experts": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "rms_norm_eps": 1e-6},
    **{"n_group": 2, "topk_group": 1},
}

CASES = {
    "mixtral": Case(
        small("MixtralForCausalLM", "mixtral", num_local_experts=6, num_experts_per_tok=2, sliding_window=None)
    ),
    "qwen2moe": Case(
        small("Qwen2MoeForCausalLM", "qwen2_moe", **_EXPERTS, **_QWEN, shared_expert_intermediate_size=64)
    ),
    "qwen3moe": Case(small("Qwen3MoeForCausalLM", "qwen3_moe", **_EXPERTS, **_QWEN, norm_topk_prob=True)),
    "olmoe": Case(
        small("OlmoeForCausalLM", "olmoe", **_EXPERTS, intermediate_size=64, num_key_value_heads=4),
    ),
    "gpt-oss": Case(
        small(
            *("GptOssForCausalLM", "gpt_oss"),
            num_local_experts=6,
            num_experts_per_tok=2,
            sliding_window=40,
            attention_bias=True,
            rope_parameters=_YARN | {"truncate": False},
            layer_types=["sliding_attention", "full_attention"],
        ),
        peer="rounds the ends of YaRN's ramp",
    ),
    "deepseek2-lite": Case(
        small(
            *("DeepseekV2ForCausalLM", "deepseek_v2"),
            **{**_LATENT, "topk_method": "group_limited_greedy", "norm_topk_prob": False},
            rope_parameters={**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        )
        | {"q_lora_rank": None},  # left out, it is another width
        peer="knows queries of one matrix in models of 26 or 27 layers alone",
    ),
    "deepseek2": Case(
        small(
            *("DeepseekV3ForCausalLM", "deepseek_v3"),
            **{**_LATENT, "q_lora_rank": 48, "norm_topk_prob": True, "n_routed_experts": 8, "rope_interleave": True},
        )
    ),
    # Kimi-K2's config: one group, many heads, a ramp of YaRN that begins where it ends.
    "kimi-k2": Case(
        small(
            *("DeepseekV3ForCausalLM", "kimi_k2"),
            **{
                **{**_LATENT, "n_group": 1, "q_lora_rank": 48, "norm_topk_prob": True, "n_routed_experts": 12},
                **{"num_attention_heads": 8, "num_nextn_predict_layers": 0, "scoring_func": "sigmoid", "ep_size": 1},
                **{"topk_method": "noaux_tc", "moe_layer_freq": 1, "rope_theta": 50000.0, "num_key_value_heads": 8},
                **{"n_shared_experts": 1, "num_experts_per_tok": 3, "routed_scaling_factor": 2.827, "vocab_size": 512},
            },
            rope_parameters=None,
            rope_scaling={
                **{"type": "yarn", "factor": 32.0, "original_max_position_embeddings": 64, "beta_fast": 1.0},
                **{"beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0},
            },
        ),
        stand_in=lambda weights: (CASES["kimi-k2"].config | {"model_type": "deepseek_v3"}, weights),
    ),
    "glm4moe": Case(
        small(
            *("Glm4MoeForCausalLM", "glm4_moe"),
            n_routed_experts=6,
            num_experts_per_tok=2,
            n_shared_experts=1,
            moe_intermediate_size=64,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=1.5,
            n_group=1,
            topk_group=1,
            attention_bias=True,
            use_qk_norm=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        )
    ),
    "ernie4_5-moe": Case(
        small(
            *("Ernie4_5_MoeForCausalLM", "ernie4_5_moe"),
            moe_num_experts=6,
            moe_k=2,
            moe_intermediate_size=64,
            moe_num_shared_experts=2,
            moe_layer_start_index=1,
            moe_layer_interval=1,
            moe_layer_end_index=-1,
            use_bias=False,
            tie_word_embeddings=True,
            head_dim=None,
        )
    ),
    "hunyuan-moe": Case(
        small("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", num_experts=6, moe_topk=2, intermediate_size=64)
    ),
    "minimax-m2": Case(
        small(
            *("MiniMaxM2ForCausalLM", "minimax_m2"),
            num_local_experts=6,
            num_experts_per_tok=2,
            intermediate_size=64,
            rotary_dim=8,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        )
    ),
    "llama4": Case(
        small(
            *("Llama4ForCausalLM", "llama4_text"),
            num_local_experts=6,
            num_experts_per_tok=1,
            intermediate_size=64,
            intermediate_size_mlp=96,
            num_hidden_layers=4,
            interleave_moe_layer_step=2,
            attention_chunk_size=32,
            floor_scale=16,
            attn_scale=0.1,
            attn_temperature_tuning=True,
            use_qk_norm=True,
            no_rope_layer_interval=4,
        ),
        peer="has chunks of 8192 positions alone",
    ),
    "granitemoe": Case(
        small(
            *("GraniteMoeForCausalLM", "granitemoe"),
            num_local_experts=6,
            num_experts_per_tok=2,
            intermediate_size=64,
            head_dim=None,
            embedding_multiplier=3.0,
            residual_multiplier=0.5,
            attention_multiplier=0.2,
            logits_scaling=2.0,
        )
    ),
    "dbrx": Case(
        {
            **{"architectures": ["DbrxForCausalLM"], "model_type": "dbrx", "d_model": 64, "n_heads": 4, "n_layers": 2},
            **{"max_seq_len": 512, "vocab_size": 256, "tie_word_embeddings": False},
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 2.0},
            "ffn_config": {
                **{"hidden_size": 64, "ffn_hidden_size": 64, "moe_num_experts": 6, "moe_top_k": 2},
                **{"moe_normalize_expert_weights": 1.0, "ffn_act_fn": {"name": "silu"}},
            },
        }
    ),
}
