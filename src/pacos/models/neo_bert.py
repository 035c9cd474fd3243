"""NeoBERT: an encoder with RMS norms, rotary pairs, and gated units of two thirds of the width that the config says.

Source: NeoBERT's model.py (arXiv:2502.19587); tensor names as in GGUF arch "neo-bert". Folders hold queries, keys and
values head by head, files one after the other.
Shapes: T tokens in the step, R rows wanted, D model width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.bert import ENCODER, labels_of
from pacos.models.blocks import both_ways, fused_silu_feed_forward, project, rotated
from pacos.models.hf_config import Config, Metadata, needed
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import gathered_groups, in_layers, layer_pair, outside
from pacos.settings.embed import POOLINGS

_MULTIPLE = 8  # of which the width of units is one
_LAYER = "transformer_encoder.{i}"


def _heads(config: Config) -> tuple[int, int]:
    heads = needed(config, "num_attention_heads")
    return heads, heads


def _read_config(config: Config) -> Metadata:
    hidden = int(2 * needed(config, "intermediate_size") / 3)
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": config["max_length"],
        "embedding_length": config.get("hidden_size"),
        "feed_forward_length": -(-hidden // _MULTIPLE) * _MULTIPLE,
        "attention.head_count": config.get("num_attention_heads"),
        "attention.layer_norm_rms_epsilon": config["norm_eps"],
        "attention.causal": False,
        "pooling_type": POOLINGS.index("cls"),
        "rope.freq_base": 10000.0,
        "rope.scaling.type": "none",
        "classifier.output_labels": labels_of(config),
    }


NEO_BERT = HuggingFace(
    classes=("NeoBERT", "NeoBERTLMHead", "NeoBERTForSequenceClassification"),
    names=(
        *outside(**{"token_embd": "encoder", "enc.output_norm": "layer_norm"}),
        *outside(**{"cls": "dense", "cls.output": "classifier"}),
        *layer_pair("attn_qkv", "qkv", gathered_groups(_heads), at=_LAYER),
        *in_layers(_LAYER, attn_norm="attention_norm", attn_output="wo", ffn_norm="ffn_norm"),
        *in_layers(_LAYER, ffn_up="ffn.w12", ffn_down="ffn.w3"),
    ),
    metadata=_read_config,
    defaults={
        **{"norm_eps": 1e-6, "max_length": 1024, "vocab_size": 32064, "hidden_size": 768, "num_hidden_layers": 28},
        **{"num_attention_heads": 12, "intermediate_size": 3072, "tie_word_embeddings": True},
    },
    heads=r"^dense\.",
    needless=r"^decoder\.|freqs_cis$",
)


@architecture("neo-bert", hf=NEO_BERT, rope="pairs", defaults=ENCODER)
def neo_bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = rotated(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        x = x + project(both_ways(qkv, inputs, hp, i), w, "attn_output")
        x = x + fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    y: Tensor = ops.rms_norm(ops.take(x, inputs.outputs), weights["enc.output_norm"], eps=hp.norm_eps)
    return y
