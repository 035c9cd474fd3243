"""Grok-1: norms before and behind each part, capped scores, experts with GELU.

Source: github.com/xai-org/grok-1, model.py; tensor names as in GGUF arch "grok". Grok 2 is another model.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, rotated
from pacos.models.experts import Experts
from pacos.models.hf_config import Config, Metadata, decoder, positive
from pacos.models.hf_experts import READS, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_project, routed
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName, in_layers, outside

_FACTOR_MAX = 1e6
_LAYER = "decoder_layer.{i}"


def _read(config: Config) -> Metadata:
    return {
        **{**decoder(config), **experts(config)},
        "embedding_scale": positive(config, "embedding_multiplier_scale"),
        "logit_scale": positive(config, "output_multiplier_scale"),
        "attention.output_scale": positive(config, "attn_output_multiplier"),
    }


_DEFAULTS = {
    **{"embedding_scale": 78.38367176906169, "logit_scale": 0.5773502691896257},
    **{"attention.output_scale": 0.08838834764831845, "attn_logit_softcapping": 30.0, "expert_weights_norm": True},
}
GROK = HuggingFace(
    classes=("GrokForCausalLM",),
    names=(
        *outside(token_embd="in_out_embed", output_norm="rms_norm", output="lm_head"),
        *in_layers(_LAYER, attn_norm="rms_norm", attn_output_norm="rms_norm_1"),
        *in_layers(_LAYER, ffn_norm="rms_norm_2", layer_output_norm="rms_norm_3"),
        *in_layers(
            f"{_LAYER}.multi_head_attention", attn_q="query", attn_k="key", attn_v="value", attn_output="linear"
        ),
        *in_layers(_LAYER, ffn_gate_inp="router"),
        TensorName("blk.{i}.ffn_gate_exps.weight", f"{_LAYER}.moe.{{e}}.linear.weight"),
        TensorName("blk.{i}.ffn_up_exps.weight", f"{_LAYER}.moe.{{e}}.linear_v.weight"),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_LAYER}.moe.{{e}}.linear_1.weight"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "tie_word_embeddings": True, "num_local_experts": 8, "num_experts_per_tok": 2},
        **{"embedding_multiplier_scale": 78.38367176906169, "output_multiplier_scale": 0.5773502691896257},
        **{"attn_output_multiplier": 0.08838834764831845, "attn_logit_softcapping": 30.0, "norm_topk_prob": True},
    },
    activations=("gelu", "gelu_pytorch_tanh"),
    reads=READS,
)


@architecture("grok", hf=GROK, defaults=_DEFAULTS)
def grok(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted. Errors: UnsupportedModel for Grok 2."""
    scale = hp.keys.number("attention.output_scale", 0, _FACTOR_MAX)
    embedded = ops.embed(inputs.tokens, weights["token_embd"])
    x = ops.scale(embedded, factor=hp.keys.number("embedding_scale", 0, _FACTOR_MAX))  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        if "ffn_up" in w:
            raise UnsupportedModel("layers have a unit beside their experts, as Grok 2: supported is Grok-1 alone")
        qkv = rotated(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        a = attend(qkv, w, inputs, hp, i, scale=scale, softcap=hp.attention_softcap)
        x = x + ops.rms_norm(a, w["attn_output_norm"], eps=hp.norm_eps)
        chosen = _experts(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.needed_experts())
        x = x + ops.rms_norm(chosen, w.first("layer_output_norm", "post_ffw_norm"), eps=hp.norm_eps)
    y: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=hp.keys.number("logit_scale", 0, _FACTOR_MAX))
    return y


def _experts(x: Tensor, w: WeightTable, form: Experts) -> Tensor:
    """Weighed gated units: the norm behind them makes it one whether weights add up. Shapes: [T, D] -> [T, D]."""
    shares, chosen = routed(x, w, form)
    gate, up = (expert_project(x, chosen, w, name, form) for name in ("ffn_gate_exps", "ffn_up_exps"))
    y: Tensor = ops.weigh(expert_project(ops.gelu_tanh(gate) * up, chosen, w, "ffn_down_exps", form), shares)
    return y
