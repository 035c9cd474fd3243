from __future__ import annotations

from models.case import Case, small

_PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
_UNIT = {"hidden_act": "relu2", "norm_eps": 1e-5, "rms_norm_eps": None, "head_dim": 16}

CASES = {"nemotron": Case(small("NemotronForCausalLM", "nemotron", **_PARTIAL, **_UNIT), norm=0.0)}
