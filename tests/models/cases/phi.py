from __future__ import annotations

from models.case import Case, small

_PHI2 = {"hidden_act": "gelu_new", "num_key_value_heads": 4, "head_dim": None, "rms_norm_eps": None}
_PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
_PHI3 = ("Phi3ForCausalLM", "phi3")
_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0],
    "short_factor": [1.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6],
}


_EXPERTS = {"num_local_experts": 6, "num_experts_per_tok": 2, "router_jitter_noise": 0.01, "attention_bias": True}
_MIXED = ("PhimoeForCausalLM", "phimoe")
_SHARES = "takes RMS norms for layer norms and softmax for the sparse mixer; with both changed so, KL is 2e-11"
_SCALED = {**_LONG, "original_max_position_embeddings": 512, "short_mscale": 1.25, "long_mscale": 1.25}


def _long_rope(original: int) -> Case:
    rope = {"rope_parameters": {**_LONG, "original_max_position_embeddings": original}}
    return Case(small(*_PHI3, **rope, original_max_position_embeddings=original, head_dim=None, pad_token_id=0))


# Of prompts longer than the original context transformers takes the long factors; a prompt of one token is not turned.
CASES = {
    "phi2": Case(small("PhiForCausalLM", "phi", **_PHI2, **_PARTIAL)),
    "phi3": Case(small(*_PHI3, sliding_window=40, head_dim=None, pad_token_id=0), peer="ignores the window"),
    "phi3-long": _long_rope(4),
    "phi3-short": _long_rope(512),
    "phi2-norms": Case(
        small("PhiForCausalLM", "phi", **_PHI2, **_PARTIAL, qk_layernorm=True), peer="knows no norms of heads"
    ),
    "phimoe": Case(
        small(*_MIXED, **_EXPERTS, head_dim=None, lm_head_bias=True, original_max_position_embeddings=512), peer=_SHARES
    ),
    "phimoe-long": Case(
        small(*_MIXED, **_EXPERTS, head_dim=None, lm_head_bias=True, rope_parameters=_SCALED), peer=_SHARES
    ),
}
