from __future__ import annotations

from models.case import Case, small

_KINDS = {"num_hidden_layers": 4, "layer_types": [*["sliding_attention"] * 3, "full_attention"], "sliding_window": 40}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
_ROPE = {"full_attention": _YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}

CASES = {
    "olmo": Case(small("OlmoForCausalLM", "olmo", clip_qkv=2.0, rms_norm_eps=None, head_dim=None, pad_token_id=1)),
    "olmo2": Case(small("Olmo2ForCausalLM", "olmo2", head_dim=None, pad_token_id=1)),
    # As published: what stretches the context stands for all layers, but is of those without windows.
    "olmo3-published": Case(
        small("Olmo3ForCausalLM", "olmo3", head_dim=None, pad_token_id=1, **_KINDS, rope_parameters=None)
        | {"rope_theta": 500000.0, "rope_scaling": {key: one for key, one in _YARN.items() if key != "rope_theta"}}
    ),
    "olmo3": Case(small("Olmo3ForCausalLM", "olmo3", head_dim=None, pad_token_id=1, **_KINDS, rope_parameters=_ROPE)),
}
