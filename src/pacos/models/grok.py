"""Grok-1 and Grok 2: norms before and behind each part, capped scores, experts with GELU; the second has a unit beside
its experts, YaRN and capped logits.

Source: github.com/xai-org/grok-1, model.py; Grok 2 as llama.cpp computes it, without the cap of the router and the
sharper scores of late positions that its config names; tensor names as in GGUF arch "grok".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, gelu_feed_forward, logits, rotated
from pacos.models.experts import Experts
from pacos.models.hf_config import Config, Metadata, decoder, head_width, positive
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_project, routed
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, TensorName, in_layers, outside

_FACTOR_MAX = 1e6
_LAYER = "decoder_layer.{i}"


def _read(config: Config) -> Metadata:
    return {
        **{**decoder(config), **experts(config)},
        "embedding_scale": positive(config, "embedding_multiplier_scale"),
        "logit_scale": positive(config, "output_multiplier_scale"),
        "attention.output_scale": config.get("attn_output_multiplier") or (head_width(config) or 1) ** -0.5,
        "router_logit_softcapping": config.get("router_logit_softcapping"),
    }


def _read_second(config: Config) -> Metadata:
    found = {**_read(config), "attention.temperature_length": config.get("attn_temperature_len")}
    if config.get("rope_type") not in _STRETCHED:
        return found
    keys = {"original_context_length": "original_max_position_embeddings", "factor": "scaling_factor"}
    keys |= {"yarn_ext_factor": "extrapolation_factor", "yarn_attn_factor": "attn_factor"}
    keys |= {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
    stretched = {f"rope.scaling.{key}": config.get(word) for key, word in keys.items()}
    return {**found, **stretched, "rope.scaling.type": "yarn"}


_STRETCHED = ("yarn", "original")  # of which the second is what the published config says
_DEFAULTS = {
    "rope.scaling.yarn_beta_fast": 8.0,
    **{"embedding_scale": 78.38367176906169, "logit_scale": 0.5773502691896257},
    **{"attention.output_scale": 0.08838834764831845, "attn_logit_softcapping": 30.0, "expert_weights_norm": True},
}
GROK = HuggingFace(
    classes=("GrokForCausalLM", "Grok1ForCausalLM"),
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
GROK_2 = replace(
    GROK,
    names=(
        *(*ENDS, *ATTENTION, *GATED),
        *in_layers(attn_norm="pre_attn_norm", attn_output_norm="post_attn_norm"),
        *in_layers(ffn_norm="pre_moe_norm", post_ffw_norm="post_moe_norm"),
        *expert_names("block_sparse_moe", gate="w1", down="w2", up="w3"),
    ),
    metadata=_read_second,
    defaults={
        **{"rms_norm_eps": 1e-5, "num_local_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True},
        **{"attn_logit_softcapping": 30.0, "router_logit_softcapping": 30.0, "tie_word_embeddings": False},
    },
    fits=lambda config: bool(config.get("residual_moe")),
)


@architecture("grok", hf=(GROK_2, GROK), defaults=_DEFAULTS)
def grok(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    scale = hp.keys.number("attention.output_scale", 0, _FACTOR_MAX)
    embedded = ops.embed(inputs.tokens, weights["token_embd"])
    x = ops.scale(embedded, factor=hp.keys.number("embedding_scale", 0, _FACTOR_MAX))  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = rotated(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        a = attend(qkv, w, inputs, hp, i, scale=scale, softcap=hp.attention_softcap)
        x = x + ops.rms_norm(a, w["attn_output_norm"], eps=hp.norm_eps)
        h = ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps)
        chosen = _experts(h, w, hp.needed_experts())
        if "ffn_up" in w:
            chosen = ops.scale(gelu_feed_forward(h, w) + chosen, factor=0.5**0.5)
        x = x + ops.rms_norm(chosen, w.first("layer_output_norm", "post_ffw_norm"), eps=hp.norm_eps)
    y: Tensor = ops.scale(logits(x, inputs, weights, hp), factor=hp.keys.number("logit_scale", 0, _FACTOR_MAX))
    return ops.softcap(y, cap=hp.final_softcap) if hp.final_softcap else y


def _experts(x: Tensor, w: WeightTable, form: Experts) -> Tensor:
    """Weighed gated units. Shapes: [T, D] -> [T, D]."""
    shares, chosen = routed(x, w, form)
    gate, up = (expert_project(x, chosen, w, name, form) for name in ("ffn_gate_exps", "ffn_up_exps"))
    y: Tensor = ops.weigh(expert_project(ops.gelu_tanh(gate) * up, chosen, w, "ffn_down_exps", form), shares)
    return y
