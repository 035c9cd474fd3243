from __future__ import annotations

from models.case import Case, Config

_PEER = "does not scale logits of tied embeddings"


def _config(name: str, kind: str, **more: object) -> Config:
    return {
        **{"architectures": [name], "model_type": kind, "d_model": 64, "d_ff": 128, "d_kv": 16, "num_heads": 4},
        **{"num_layers": 2, "num_decoder_layers": 2, "vocab_size": 256, "n_positions": 512, "is_encoder_decoder": True},
        **{"layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
        **{"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, **more},
    }


_FLAN = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 3}
_UMT5 = {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}
_PILE = {"feed_forward_proj": "gated-silu", "tie_word_embeddings": False}
_SAVED_ANEW = {"feed_forward_proj": "gelu", "scale_decoder_outputs": False}  # tied, and not scaled all the same

CASES = {
    "t5": Case(_config("T5ForConditionalGeneration", "t5", feed_forward_proj="relu"), peer=_PEER, embedding_spread=1.0),
    "flan-t5": Case(_config("T5ForConditionalGeneration", "t5", **_FLAN)),
    "umt5": Case(
        _config("UMT5ForConditionalGeneration", "umt5", **_UMT5),
        peer="loads no decoder of more layers than the encoder has",
    ),
    "pile-t5": Case(_config("UMT5ForConditionalGeneration", "umt5", **_PILE), peer="takes every gate for GELU's"),
    "t5-unscaled": Case(
        _config("T5ForConditionalGeneration", "t5", **_SAVED_ANEW), peer="takes every unit without gate for ReLU's"
    ),
}

_READER = {"is_encoder_decoder": None, **_FLAN}


def _encoder(**more: object) -> Config:
    config = _config("T5EncoderModel", "t5", **{**_READER, **more})
    return {key: value for key, value in config.items() if value is not None}


ENCODERS = {
    "t5encoder": Case(_encoder(), spread=0.1),
    "t5encoder-mish": Case(
        _encoder(feed_forward_proj="gated-mish", num_layers=2), spread=0.1, peer="takes every gate for GELU's"
    ),
    "t5encoder-tanh": Case(
        _encoder(feed_forward_proj="tanh", num_layers=2), spread=0.1, peer="takes every unit without gate for ReLU's"
    ),
}
