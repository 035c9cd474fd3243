from __future__ import annotations

from typing import Any

from models.case import Case, small
from models.cases.mamba import SLOW


def _hybrid(name: str, kind: str, **more: Any) -> Case:
    return Case(small(name, kind, num_hidden_layers=3, **more), centres=SLOW)


_MAMBA2 = {
    **{"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 32, "mamba_d_conv": 4},
    **{"mamba_expand": 2, "mamba_chunk_size": 16},
}
_GRANITE = {
    **{"embedding_multiplier": 1.5, "attention_multiplier": 0.2, "residual_multiplier": 0.7, "logits_scaling": 2.0},
}
_FACTORS = {
    **{"embedding_multiplier": 1.3, "lm_head_multiplier": 0.7, "key_multiplier": 0.6, "attention_in_multiplier": 0.9},
    **{"attention_out_multiplier": 1.1, "ssm_in_multiplier": 0.8, "ssm_out_multiplier": 1.2},
    **{"ssm_multipliers": [0.5, 0.6, 0.7, 0.8, 0.9], "mlp_multipliers": [0.9, 1.1]},
}
_NEMOTRON = {
    **{"num_hidden_layers": 4, "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 32},
    **{"conv_kernel": 4, "expand": 2, "chunk_size": 16, "layer_norm_epsilon": 1e-5, "rms_norm_eps": None},
    **{"hidden_act": None, "mlp_hidden_act": "relu2", "mamba_hidden_act": "silu", "rope_parameters": None},
}
_JAMBA = {
    **{"attn_layer_period": 3, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    **{"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 8, "use_mamba_kernels": False},
    **{"head_dim": None, "rope_parameters": None},
}

_DELTA = {
    **{"layer_types": ["linear_attention", "full_attention", "linear_attention"], "head_dim": 32},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16},
    **{"linear_value_head_dim": 16, "linear_conv_kernel_dim": 4},
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
}


def _delta(name: str, kind: str, **more: Any) -> Case:
    config = small(name, kind, num_hidden_layers=3, **_DELTA, **more)
    return Case(config, norm=0.0, centres={**SLOW, "linear_attn.norm.weight": 1.0})


CASES = {
    "nemotron-h-experts": Case(
        small(
            *("NemotronHForCausalLM", "nemotron_h"),
            **_NEMOTRON,
            layers_block_type=["mamba", "moe", "attention", "moe"],
            n_routed_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=64,
            moe_shared_expert_intermediate_size=96,
            n_group=2,
            topk_group=1,
            routed_scaling_factor=2.5,
            norm_topk_prob=True,
        ),
        centres=SLOW,
    ),
    "nemotron-h-narrow": Case(
        small(
            *("NemotronHForCausalLM", "nemotron_h"),
            **_NEMOTRON,
            layers_block_type=["mamba", "moe", "attention", "moe"],
            n_routed_experts=6,
            num_experts_per_tok=2,
            moe_intermediate_size=64,
            moe_shared_expert_intermediate_size=96,
            moe_latent_size=32,
            routed_scaling_factor=2.5,
            norm_topk_prob=True,
        ),
        centres=SLOW,
    ),
    "nemotron-h": Case(
        small(
            *("NemotronHForCausalLM", "nemotron_h"),
            layers_block_type=["mamba", "mlp", "attention", "mamba"],
            **_NEMOTRON,
        ),
        centres=SLOW,
    ),
    "qwen3next": _delta(
        *("Qwen3NextForCausalLM", "qwen3_next"),
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        norm_topk_prob=True,
        shared_expert_intermediate_size=32,
    ),
    "qwen35moe": _delta(
        *("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text"),
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    ),
    "qwen35": _delta("Qwen3_5ForCausalLM", "qwen3_5_text"),
    "lfm2": _hybrid(
        *("Lfm2ForCausalLM", "lfm2"),
        layer_types=["conv", "full_attention", "conv"],
        conv_L_cache=3,
        norm_eps=1e-5,
        rms_norm_eps=None,
        block_auto_adjust_ff_dim=False,
        tie_word_embeddings=True,
    ),
    "jamba": _hybrid("JambaForCausalLM", "jamba", num_experts=1, num_experts_per_tok=1, **_JAMBA),
    "jamba-experts": _hybrid("JambaForCausalLM", "jamba", num_experts=4, num_experts_per_tok=2, **_JAMBA),
    "granitehybrid-experts": _hybrid(
        *("GraniteMoeHybridForCausalLM", "granitemoehybrid"),
        layer_types=["mamba", "attention", "mamba"],
        num_local_experts=6,
        num_experts_per_tok=2,
        intermediate_size=64,
        position_embedding_type="nope",
        shared_intermediate_size=96,
        tie_word_embeddings=True,
        **_GRANITE,
        **_MAMBA2,
    ),
    "granite4": _hybrid(
        *("GraniteMoeHybridForCausalLM", "granitemoehybrid"),
        layer_types=["attention"] * 3,
        num_local_experts=0,
        num_experts_per_tok=0,
        position_embedding_type="rope",
        shared_intermediate_size=128,
        tie_word_embeddings=True,
        **_GRANITE,
        **_MAMBA2,
    ),
    "granite4-experts": _hybrid(
        *("GraniteMoeHybridForCausalLM", "granitemoehybrid"),
        layer_types=["attention"] * 3,
        num_local_experts=6,
        num_experts_per_tok=2,
        intermediate_size=64,
        position_embedding_type="rope",
        shared_intermediate_size=96,
        tie_word_embeddings=True,
        **_GRANITE,
        **_MAMBA2,
    ),
    "granitehybrid": _hybrid(
        *("GraniteMoeHybridForCausalLM", "granitemoehybrid"),
        layer_types=["mamba", "attention", "mamba"],
        num_local_experts=0,
        num_experts_per_tok=0,
        position_embedding_type="nope",
        shared_intermediate_size=128,
        tie_word_embeddings=True,
        **_GRANITE,
        **_MAMBA2,
    ),
    "falcon-h1": _hybrid("FalconH1ForCausalLM", "falcon_h1", mamba_d_ssm=128, **_MAMBA2, **_FACTORS),
    "falcon-h1-norm": _hybrid(
        *("FalconH1ForCausalLM", "falcon_h1"),
        mamba_d_ssm=128,
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        tie_word_embeddings=True,
        **_MAMBA2,
    ),
}
