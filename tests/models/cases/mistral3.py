from __future__ import annotations

from models.case import Case, small

_YARN = {
    **{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64},
    **{"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
}

CASES = {"mistral3": Case(small("Ministral3ForCausalLM", "ministral3", rope_parameters=_YARN, sliding_window=None))}
