from __future__ import annotations

from models.case import Case, small

_STABLELM = ("StableLmForCausalLM", "stablelm")
_PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}
_NORMS = {"layer_norm_eps": 1e-5, "rms_norm_eps": None, "head_dim": None}

CASES = {
    "stablelm": Case(small(*_STABLELM, **_PARTIAL, **_NORMS, use_qkv_bias=True)),
    "stablelm-parallel": Case(small(*_STABLELM, **_PARTIAL, **_NORMS, qk_layernorm=True, use_parallel_residual=True)),
}
