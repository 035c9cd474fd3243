from __future__ import annotations

from models.case import Case, small

_GLM = {
    "attention_bias": True,
    "pad_token_id": 0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
}

CASES = {
    "chatglm": Case(small("GlmForCausalLM", "glm", **_GLM)),
    "glm4": Case(small("Glm4ForCausalLM", "glm4", **_GLM)),
}
