from __future__ import annotations

from typing import Any

from models.case import CONTEXT, HEADS, HIDDEN, LAYERS, VOCAB, WIDTH, Case

_ROBERTA = {"max_position_embeddings": CONTEXT + 2, "pad_token_id": 1, "type_vocab_size": 1}
_ROTARY = {"hidden_act": "silu", "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}


def _encoder(name: str, kind: str, *, word_pieces: bool = False, **more: Any) -> Case:
    config = {
        **{"architectures": [name], "model_type": kind, "hidden_size": WIDTH, "intermediate_size": HIDDEN},
        **{"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB, "type_vocab_size": 2},
        **{"max_position_embeddings": CONTEXT, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0},
        **more,
    }
    return Case(config, word_pieces=word_pieces)


ENCODERS = {
    "bert": _encoder("BertModel", "bert", word_pieces=True),
    "bert-classifier": _encoder("BertForSequenceClassification", "bert", word_pieces=True, id2label={"0": "LABEL_0"}),
    "roberta": _encoder("XLMRobertaModel", "xlm-roberta", **_ROBERTA, layer_norm_eps=1e-5),
    "nomic-bert": _encoder("NomicBertModel", "nomic_bert", word_pieces=True, **_ROTARY),
    "roberta-classifier": _encoder(
        "XLMRobertaForSequenceClassification", "xlm-roberta", **_ROBERTA, id2label={"0": "LABEL_0"}
    ),
}
