from __future__ import annotations

from models.case import Case, small
from models.cases.mamba import SLOW

_SIZES = {
    **{"num_hidden_layers": 4, "moe_intermediate_size": 64, "num_experts": 8, "num_experts_per_token": 2},
    **{"num_shared_experts": 1, "kv_lora_rank": 32, "q_lora_rank": None, "qk_rope_head_dim": 8, "v_head_dim": 16},
    **{"qk_nope_head_dim": 16, "num_expert_group": 1, "topk_group": 1, "moe_renormalize": True, "head_dim": None},
    **{"routed_scaling_factor": 2.4, "first_k_dense_replace": 1, "model_max_length": 512, "rope_parameters": None},
    **{
        "max_position_embeddings": None,
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "moe_router_activation_func": "sigmoid",
    },
    "linear_attn_config": {
        **{"full_attn_layers": [2, 4], "kda_layers": [1, 3], "head_dim": 16, "num_heads": 4},
        "short_conv_kernel_size": 4,
    },
}

CASES = {"kimi-linear": Case(small("KimiLinearForCausalLM", "kimi_linear", **_SIZES), centres=SLOW)}
