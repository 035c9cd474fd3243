from __future__ import annotations

from models.case import Case, small

_COHERE = {"layer_norm_eps": 1e-5, "rms_norm_eps": None, "logit_scale": 0.25, "tie_word_embeddings": True}
_KINDS = {"sliding_window": 40, "num_hidden_layers": 4, "layer_types": [*["sliding_attention"] * 3, "full_attention"]}
_PEER = "knows norms of heads in models of 64 layers alone"

CASES = {
    "command-r": Case(small("CohereForCausalLM", "cohere", **_COHERE, head_dim=None)),
    "command-r-norms": Case(
        small("CohereForCausalLM", "cohere", **_COHERE, use_qk_norm=True, head_dim=None),
        peer=_PEER,
    ),
    "cohere2": Case(small("Cohere2ForCausalLM", "cohere2", **_COHERE, **_KINDS)),
}
