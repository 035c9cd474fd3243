from __future__ import annotations

from models.case import Case, small

_NEOX = {
    "hidden_act": "gelu",
    "rotary_pct": 0.25,
    "layer_norm_eps": 1e-5,
    "rms_norm_eps": None,
    "head_dim": None,
    "num_key_value_heads": None,
}
_PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}

CASES = {
    f"gptneox{name}": Case(small("GPTNeoXForCausalLM", "gpt_neox", **_NEOX, **_PARTIAL, use_parallel_residual=parallel))
    for name, parallel in (("", True), ("-serial", False))
}
CASES["gptneox-20b"] = Case(
    small("GPTNeoXForCausalLM", "gpt_neox", **{**_NEOX, **_PARTIAL, "hidden_act": "gelu_fast"}),
)
