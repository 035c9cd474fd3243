from __future__ import annotations

from typing import Any

import numpy as np
from models.case import CONTEXT, HEADS, LAYERS, VOCAB, Case, Config, Weights

_WIDTH, _HIDDEN, _RANK, _TASKS = 64, 128, 4, ("retrieval.query", "text-matching")


def _config(name: str, kind: str, **more: Any) -> Config:
    return {
        **{"architectures": [name], "model_type": kind, "hidden_size": _WIDTH, "intermediate_size": _HIDDEN},
        **{"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB, "type_vocab_size": 1},
        **{"max_position_embeddings": CONTEXT + 2, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "pad_token_id": 1},
        **more,
    }


_IN_TRANSFORMERS = _config(
    "JinaEmbeddingsV3Model",
    "jina_embeddings_v3",
    rope_parameters={"rope_type": "default", "rope_theta": 20000.0},
)


def _shapes() -> dict[str, tuple[int, ...]]:
    """As published: adapters lie beside the weights that they change."""
    linear = {"mixer.Wqkv": (3 * _WIDTH, _WIDTH), "mixer.out_proj": (_WIDTH, _WIDTH)}
    linear |= {"mlp.fc1": (_HIDDEN, _WIDTH), "mlp.fc2": (_WIDTH, _HIDDEN)}
    beside = {"embeddings.word_embeddings": (VOCAB, _WIDTH), "embeddings.token_type_embeddings": (1, _WIDTH)}
    found: dict[str, tuple[int, ...]] = {f"emb_ln.{kind}": (_WIDTH,) for kind in ("weight", "bias")}
    for i in range(LAYERS):
        at = f"encoder.layers.{i}"
        beside |= {f"{at}.{name}": shape for name, shape in linear.items()}
        found |= {f"{at}.{name}.bias": shape[:1] for name, shape in linear.items()}
        found |= {f"{at}.norm{n}.{kind}": (_WIDTH,) for n in (1, 2) for kind in ("weight", "bias")}
    for name, (rows, columns) in beside.items():
        own = f"{name}.parametrizations.weight"
        found |= {f"{own}.original": (rows, columns), f"{own}.0.lora_A": (len(_TASKS), _RANK, columns)}
        found |= {f"{own}.0.lora_B": (len(_TASKS), rows, _RANK)}
    return {f"roberta.{name}": shape for name, shape in found.items()}


def _stand_in(weights: Weights) -> tuple[Config, Weights]:
    """The class of transformers, which has no adapters and other names."""
    own = {name.removeprefix("roberta.").replace(".parametrizations.weight.original", ".weight"): one
           for name, one in weights.items() if ".lora_" not in name}  # fmt: skip
    found = {f"embeddings.{name}.weight": own[f"embeddings.{name}.weight"] for name in _TABLES}
    found |= {f"embeddings.LayerNorm.{kind}": own[f"emb_ln.{kind}"] for kind in ("weight", "bias")}
    for i in range(LAYERS):
        at, to = f"encoder.layers.{i}", f"layers.{i}"
        for kind in ("weight", "bias"):
            parts = np.split(own[f"{at}.mixer.Wqkv.{kind}"], 3)
            found |= {f"{to}.self_attn.{name}_proj.{kind}": one for name, one in zip("qkv", parts, strict=True)}
            found |= {f"{to}.{new}.{kind}": own[f"{at}.{old}.{kind}"] for new, old in _SAME.items()}
    return _IN_TRANSFORMERS, found


_TABLES = ("word_embeddings", "token_type_embeddings")
_SAME = {
    **{"self_attn.o_proj": "mixer.out_proj", "post_attention_layernorm": "norm1", "post_mlp_layernorm": "norm2"},
    **{"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"},
}
ENCODERS = {
    "jina-bert-v3": Case(
        _config(
            "XLMRobertaModel",
            "xlm-roberta",
            lora_adaptations=list(_TASKS),
            lora_rank=_RANK,
            lora_alpha=1,
            position_embedding_type="rotary",
            rotary_emb_base=20000.0,
        ),
        shapes=_shapes(),
        stand_in=_stand_in,
    ),
    "jina-bert-v3-transformers": Case(_IN_TRANSFORMERS),
}
