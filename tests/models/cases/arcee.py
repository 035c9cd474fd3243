from __future__ import annotations

from models.case import Case, small

_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}

CASES = {"arcee": Case(small("ArceeForCausalLM", "arcee", hidden_act="relu2", rope_parameters=_YARN))}
