from __future__ import annotations

from models.case import Case, small

_KINDS = {"num_hidden_layers": 4, "layer_types": [*["sliding_attention"] * 3, "full_attention"], "sliding_window": 40}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

CASES = {
    "exaone4": Case(
        small(
            *("Exaone4ForCausalLM", "exaone4"),
            **_KINDS,
            rope_parameters={**_LLAMA3, "original_max_position_embeddings": 64},
        ),
        peer="knows windows in models of 64 layers alone",
    ),
    "exaone4-whole": Case(
        {**small("Exaone4ForCausalLM", "exaone4", layer_types=["full_attention"] * 2), "sliding_window": None}
    ),
}
