from __future__ import annotations

from models.case import Case, Config, decoder, small

_GEMMA: Config = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "query_pre_attn_scalar": 128}
_WINDOWS: Config = {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"]}
_SCALE = "divides scores by the root of the head width, whatever the file says"
_PLAIN: Config = {"query_pre_attn_scalar": 16, "hidden_act": None}
_CAPS: Config = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
_ROPE: Config = {
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
    }
}


def _plus_one(config: Config, embedding_spread: float = 0.2, peer: str = "") -> Case:
    return Case(config, norm=0.0, embedding_spread=embedding_spread, rounded=True, peer=peer)


# The folder's window reaches half to either side.
ENCODERS = {
    "gemma-embedding": Case(
        small(
            "Gemma3TextModel",
            "gemma3_text",
            **{**_GEMMA, **_WINDOWS, **_PLAIN, "sliding_window": 64, "use_bidirectional_attention": True},
            rope_parameters=None,
            rope_theta=1e6,
            rope_local_base_freq=1e4,
            num_key_value_heads=1,
        ),
        norm=0.0,
        embedding_spread=0.06,
    ),
}
# Normed layers add so little to larger embeddings that Gemma 2 and 3 would just repeat their token.
CASES = {
    "gemma": _plus_one(
        decoder("GemmaForCausalLM", "gemma", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
    ),
    "gemma2": _plus_one(decoder("Gemma2ForCausalLM", "gemma2", **_GEMMA, **_WINDOWS, **_CAPS), 0.06, _SCALE),
    "gemma3": _plus_one(decoder("Gemma3ForCausalLM", "gemma3_text", **{**_GEMMA, **_WINDOWS, **_ROPE}), 0.06, _SCALE),
    "gemma2-plain": Case(
        small("Gemma2ForCausalLM", "gemma2", **{**_GEMMA, **_WINDOWS, **_CAPS, **_PLAIN}),
        norm=0.0,
        embedding_spread=0.06,
    ),
    "gemma3-plain": Case(
        small("Gemma3ForCausalLM", "gemma3_text", **{**_GEMMA, **_WINDOWS, **_ROPE, **_PLAIN}),
        norm=0.0,
        embedding_spread=0.06,
    ),
}
