"""The words that configs of Hugging Face folders have for the same thing, the first that is there being meant.

Source: transformers 5.24 configuration classes and their attribute maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# GGUF's key, and the words.
WORDS: Mapping[str, tuple[str, ...]] = {
    "block_count": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
    "embedding_length": ("hidden_size", "n_embd", "d_model", "n_embed"),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_hidden_size", "d_ff"),
    "attention.head_count": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "vocab_size": ("vocab_size",),
}

EXPERT_WORDS: Mapping[str, tuple[str, ...]] = {
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "moe_topk", "moe_k"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "expert_shared_count": ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "leading_dense_block_count": ("first_k_dense_replace",),
}

_GROUPS = (*WORDS.values(), *EXPERT_WORDS.values())
_ROPE_WORDS = {"rope_parameters", "rope_scaling", "rope_theta"}


def filled(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what its class would fill in: nothing that the config says in another word."""
    said = {word for group in _GROUPS if not config.keys().isdisjoint(group) for word in group}
    said |= set() if config.keys().isdisjoint(_ROPE_WORDS) else {"rope_parameters"}
    return {**{key: value for key, value in defaults.items() if key not in said}, **config}
