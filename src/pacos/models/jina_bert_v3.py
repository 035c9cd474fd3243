"""jina-embeddings-v3: XLM-RoBERTa with rotary positions; its adapters for single tasks are left out.

Source: Hugging Face modeling_jina_embeddings_v3.py, Jina AI's xlm-roberta-flash-implementation; tensor names as in GGUF
arch "jina-bert-v3". The exact GELU; llama.cpp computes its tanh form.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.bert import ENCODER, normed_embeddings, rotary_layers
from pacos.models.blocks import feed_forward
from pacos.models.hf_config import Config, Metadata, rope_settings, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace, whatever_it_says
from pacos.models.registry import architecture
from pacos.models.tensor_names import Names, TensorName, in_layers, outside

_BASE = 20000.0


def _read_config(config: Config) -> Metadata:
    context, padding = config["max_position_embeddings"], config["pad_token_id"]
    return {
        **sizes(config),
        "context_length": context - 1 - padding,  # XLM-RoBERTa's positions begin behind that of padding
        "attention.causal": False,
        "rope.freq_base": rope_settings(config)[0].get("rope_theta") or config.get("rotary_emb_base") or _BASE,
    }


def _with_adapters(names: Names) -> Names:
    """The rows, and those of weights that lie beside adapters."""
    weights = {one.gguf: one.hf.removesuffix("weight") for one in names if one.hf.endswith(".weight")}
    return (*names, *(TensorName(gguf, f"{hf}parametrizations.weight.original") for gguf, hf in weights.items()))


_DEFAULTS = {
    **{"layer_norm_eps": 1e-5, "hidden_act": "gelu", "max_position_embeddings": 8194, "pad_token_id": 1},
    **{"vocab_size": 250002, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    **{"intermediate_size": 4096, "tie_word_embeddings": True},
}
_EMBEDDINGS = outside(token_embd="embeddings.word_embeddings", token_types="embeddings.token_type_embeddings")
PUBLISHED = HuggingFace(
    classes=("XLMRobertaModel",),
    names=_with_adapters(
        (
            *(*_EMBEDDINGS, *outside(token_embd_norm="emb_ln")),
            *in_layers("encoder.layers.{i}", attn_qkv="mixer.Wqkv", attn_output="mixer.out_proj"),
            *in_layers("encoder.layers.{i}", attn_output_norm="norm1", layer_output_norm="norm2"),
            *in_layers("encoder.layers.{i}", ffn_up="mlp.fc1", ffn_down="mlp.fc2"),
        )
    ),
    metadata=_read_config,
    defaults=_DEFAULTS,
    activations=("gelu",),
    reads=("position_embedding_type",),
    refuses=(("position_embedding_type", "rotary"),),
    prefixes=("roberta.",),
    adapters=r"\.lora_[AB]$",
    fits=lambda config: bool(config.get("lora_adaptations")),
)
# transformers' class takes and saves the same names.
IN_TRANSFORMERS = replace(PUBLISHED, classes=("JinaEmbeddingsV3Model",), refuses=(), fits=whatever_it_says)


@architecture("jina-bert-v3", hf=(PUBLISHED, IN_TRANSFORMERS), defaults=ENCODER)
def jina_bert_v3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    x = normed_embeddings(inputs, weights, hp)
    return rotary_layers(x, inputs, weights, hp, lambda h, w: feed_forward(h, w, ops.gelu))
