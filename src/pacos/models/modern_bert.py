"""ModernBERT: an encoder with rotary positions and gated units, whose first of every three layers alone sees all.

Source: Hugging Face modeling_modernbert.py; tensor names as in GGUF arch "modern-bert". A window lies half on either
side of a token; layers that have it turn by a base of their own. The exact GELU; llama.cpp computes its tanh form.
Shapes: T tokens in the step, R rows wanted, D model width.
"""

from __future__ import annotations

from pacos.errors import FormatError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.activations import ACTIVATIONS
from pacos.models.bert import ENCODER, labels_of
from pacos.models.blocks import both_ways, fused_feed_forward, norm, project, rotated
from pacos.models.hf_config import Config, Metadata, needed, rope_settings, sizes
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import SILU, HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside
from pacos.settings.embed import POOLINGS

_GLOBAL_BASE, _LOCAL_BASE = 160000.0, 10000.0


def _read_config(config: Config) -> Metadata:
    settings, windowed = rope_settings(config)
    return {
        **sizes(config),
        **dict.fromkeys(("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"), config["norm_eps"]),
        "attention.causal": False,
        "attention.sliding_window": config["local_attention"],
        "attention.sliding_window_pattern": _pattern(config),
        "rope.freq_base": settings.get("rope_theta") or config.get("global_rope_theta") or _GLOBAL_BASE,
        "rope.freq_base_swa": windowed or config.get("local_rope_theta") or _LOCAL_BASE,
        "hidden_activation": config["hidden_activation"],
        "rope.scaling.type": "none",
        "classifier.pooling_type": POOLINGS.index(config["classifier_pooling"]),
        "classifier.output_labels": labels_of(config),
    }


def _pattern(config: Config) -> int | list[bool]:
    """How many layers there are to one that sees all, which is the first of them; else which layers have the window."""
    kinds, layers = config.get("layer_types"), needed(config, "num_hidden_layers")
    if not kinds:
        return needed(config, "global_attn_every_n_layers")
    if not isinstance(kinds, list) or len(kinds) != layers or layers > LAYERS_MAX:
        raise FormatError(f"config.json: layer_types is {len(kinds)} long, needed: one for each of {layers} layers")
    windowed = [kind == "sliding_attention" for kind in kinds]
    every = windowed.index(False, 1) if False in windowed[1:] else layers
    return every if windowed == [bool(i % every) for i in range(layers)] else windowed


MODERN_BERT = HuggingFace(
    classes=("ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"),
    names=(
        *outside(token_embd="embeddings.tok_embeddings", token_embd_norm="embeddings.norm", output_norm="final_norm"),
        *in_layers(attn_norm="attn_norm", attn_qkv="attn.Wqkv", attn_output="attn.Wo"),
        *in_layers(ffn_norm="mlp_norm", ffn_up="mlp.Wi", ffn_down="mlp.Wo"),
        *outside(**{"cls": "head.dense", "cls.norm": "head.norm", "cls.output": "classifier"}),
    ),
    metadata=_read_config,
    defaults={
        **{"norm_eps": 1e-5, "local_attention": 128, "global_attn_every_n_layers": 3, "tie_word_embeddings": True},
        **{"hidden_activation": "gelu", "classifier_pooling": "cls", "classifier_activation": "gelu"},
        **{"vocab_size": 50368, "max_position_embeddings": 8192, "hidden_size": 768, "intermediate_size": 1152},
        **{"num_hidden_layers": 22, "num_attention_heads": 12},
    },
    activations=("gelu", *SILU),
    refuses=(("classifier_activation", "gelu"), ("classifier_pooling", ("cls", "mean"))),
    heads=r"^head\.",
    needless=r"^decoder\.",
)


# Files that do not say how classifiers pool mean the mean.
_DEFAULTS = {
    **ENCODER,
    "attention.sliding_window_offset": 0,
    "rope.freq_base_swa": _LOCAL_BASE,
    "classifier.pooling_type": 1,
}


@architecture("modern-bert", hf=MODERN_BERT, defaults=_DEFAULTS)
def modern_bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    activation = ACTIVATIONS[hp.keys.choice("hidden_activation", "gelu", "silu", default="gelu")]
    x = norm(ops.embed(inputs.tokens, weights["token_embd"]), weights, "token_embd_norm", hp)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = norm(x, w, "attn_norm", hp) if "attn_norm" in w else x  # the first layer has none
        x = x + project(both_ways(rotated(h, w, inputs, hp, i), inputs, hp, i), w, "attn_output")
        x = x + fused_feed_forward(norm(x, w, "ffn_norm", hp), w, activation)
    y: Tensor = ops.take(norm(x, weights, "output_norm", hp), inputs.outputs)
    return y
