from __future__ import annotations

from typing import Any

from models.case import CONTEXT, HEADS, VOCAB, Case

_LAYERS = 4  # the first and the last see all


def _modern(name: str, **more: Any) -> Case:
    config = {
        **{"architectures": [name], "model_type": "modernbert", "hidden_size": 64, "intermediate_size": 96},
        **{"num_hidden_layers": _LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB, "pad_token_id": 0},
        **{"max_position_embeddings": CONTEXT, "norm_eps": 1e-5, "layer_norm_eps": 1e-5, "hidden_activation": "gelu"},
        **{"local_attention": 48, "global_attn_every_n_layers": 3, "classifier_pooling": "mean"},
        **{"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "cls_token_id": 0, "sep_token_id": 1},
        **{"bos_token_id": 0, "eos_token_id": 1, **more},
    }
    return Case(config, marks=True)


ENCODERS = {
    "modern-bert": _modern("ModernBertModel"),
    "modern-bert-silu": _modern("ModernBertModel", hidden_activation="silu", global_attn_every_n_layers=2),
    "modern-bert-mean-classifier": _modern("ModernBertForSequenceClassification", id2label={"0": "LABEL_0"}),
    "modern-bert-classifier": _modern(
        "ModernBertForSequenceClassification",
        classifier_pooling="cls",
        id2label={"0": "LABEL_0"},
    ),
}
