from __future__ import annotations

from models.case import Case

CASES = {
    "bloom": Case(
        {
            **{"architectures": ["BloomForCausalLM"], "model_type": "bloom", "hidden_size": 64, "n_head": 4},
            **{"n_layer": 2, "vocab_size": 256, "seq_length": 512, "bos_token_id": 0, "eos_token_id": 1},
        }
    )
}
