from __future__ import annotations

from models.case import Case, Config, Weights, small
from models.cases.xverse import SHAPES

_FACTORS = {
    **{"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.1, "logits_scaling": 0.5},
    "tie_word_embeddings": True,
}

_MINICPM = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 32, "tie_word_embeddings": False}
_HEADS = {"num_key_value_heads": 4, "head_dim": None}


def _as_granite(weights: Weights) -> tuple[Config, Weights]:
    factors = {"embedding_multiplier": 12.0, "residual_multiplier": 1.4 / 2**0.5, "logits_scaling": 2.0}
    return small("GraniteForCausalLM", "granite", **_HEADS, **factors, attention_multiplier=0.25), weights


_WINDOWS = {
    **{"num_hidden_layers": 3, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
    **{"residual_multiplier": 0.7, "embedding_multiplier": 1.5, "logits_scaling": 2.0, "tie_word_embeddings": False},
    **{"sliding_window": 40, "layer_rope_theta": [10000.0, 0.0, 10000.0], "head_dim": None, "pad_token_id": 0},
}


CASES = {
    "granite_swa": Case(small("GraniteSWAForCausalLM", "granite_swa", **{**_FACTORS, **_WINDOWS})),
    "granite_swa-experts": Case(
        small(
            *("GraniteMoeSWAForCausalLM", "granitemoe_swa"),
            **{**_FACTORS, **_WINDOWS, "intermediate_size": 48, "shared_intermediate_size": 64},
            num_local_experts=6,
            num_experts_per_tok=2,
        )
    ),
    "minicpm": Case(small("MiniCPMForCausalLM", "minicpm", **_HEADS, **_MINICPM), shapes=SHAPES, stand_in=_as_granite),
    "granite": Case(small("GraniteForCausalLM", "granite", **_FACTORS, head_dim=None, pad_token_id=0)),
}
