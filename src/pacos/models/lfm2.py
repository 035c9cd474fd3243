"""LFM2: short convolutions between two gates, and attention with norms on heads every few layers.

Source: Hugging Face modeling_lfm2.py; tensor names as in GGUF arch "lfm2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import project, project_heads
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import TAPS, attention_layers
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, layer_pair, outside


def _metadata(config: Mapping[str, Any]) -> Mapping[str, Any]:
    config = _filled(config)
    hidden = config.get("block_ff_dim") or config.get("intermediate_size")
    if config.get("block_auto_adjust_ff_dim") and isinstance(hidden, int):
        hidden = int(2 * hidden / 3)
        factor, unit = config.get("block_ffn_dim_multiplier"), config["block_multiple_of"]
        hidden = hidden if factor is None else -(-int(factor * hidden) // unit) * unit
    return sizes_and_attention(config) | {"feed_forward_length": hidden}


def sizes_and_attention(config: Mapping[str, Any]) -> dict[str, Any]:
    """What layers are made of, but for their feed-forward units."""
    attends = [kind != "conv" for kind in config.get("layer_types") or ()]
    return decoder(config) | {
        "attention.head_count_kv": attention_layers(config, attends),
        "attention.layer_norm_rms_epsilon": config.get("norm_eps"),
        "shortconv.l_cache": config.get("conv_L_cache"),
    }


def _filled(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Files from before `layer_types` number the layers that attend."""
    if config.get("layer_types") is None and isinstance(config.get("num_hidden_layers"), int):
        attend = config.get("full_attn_idxs") or range(config["num_hidden_layers"])
        kinds = ["full_attention" if i in attend else "conv" for i in range(config["num_hidden_layers"])]
        config = {**config, "layer_types": kinds}
    return config


NAMES = (
    *outside(token_embd="embed_tokens", token_embd_norm="embedding_norm", output="lm_head"),
    *in_layers(attn_norm="operator_norm", ffn_norm="ffn_norm"),
    *in_layers(attn_q="self_attn.q_proj", attn_k="self_attn.k_proj", attn_v="self_attn.v_proj"),
    *in_layers(attn_q_norm="self_attn.q_layernorm", attn_k_norm="self_attn.k_layernorm"),
    *in_layers(attn_output="self_attn.out_proj"),
    *layer_pair("shortconv.in_proj", "conv.in_proj"),
    *layer_pair("shortconv.out_proj", "conv.out_proj"),
    *layer_pair("shortconv.conv", "conv.conv", TAPS),
    *in_layers(ffn_gate="feed_forward.w1", ffn_up="feed_forward.w3", ffn_down="feed_forward.w2"),
)
LFM2 = HuggingFace(
    classes=("Lfm2ForCausalLM",),
    names=NAMES,
    metadata=_metadata,
    defaults={
        **{"rope_theta": 1e6, "norm_eps": 1e-5, "conv_L_cache": 3, "num_key_value_heads": 8},
        **{"block_auto_adjust_ff_dim": True, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0},
        "tie_word_embeddings": True,
    },
)


@architecture("lfm2", hf=LFM2, recurrent=True)
def lfm2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + (_attend(h, w, inputs, hp, i) if hp.key_heads[i] else _convolve(h, w, inputs, hp))
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    norm = weights.first("token_embd_norm", "output_norm")
    x = ops.rms_norm(ops.take(x, inputs.outputs), norm, eps=hp.norm_eps)  # [R, D]
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), None)
    return y


def _attend(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int) -> Tensor:
    q, k = (
        ops.rms_norm(project_heads(h, w, name, hp.head_width), w[f"{name}_norm"], eps=hp.norm_eps)
        for name in ("attn_q", "attn_k")
    )  # [T, H, E], [T, K, E]
    v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
    q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
    return project(ops.attention(q, k, v, cache=inputs.cache[layer], scale=hp.scale), w, "attn_output")


def _convolve(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams) -> Tensor:
    both = project(h, w, "shortconv.in_proj")  # [T, 3 D]
    before, after, x = (ops.columns(both, start=i * hp.width, stop=(i + 1) * hp.width) for i in range(3))
    x = ops.short_conv(before * x, w["shortconv.conv"], w.get("shortconv.conv.bias"), state=inputs.state())
    return project(after * x, w, "shortconv.out_proj")
