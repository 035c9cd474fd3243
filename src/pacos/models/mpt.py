"""MPT, and SEA-LION 1: GPT-2 without biases, ALiBi's or learned positions, at times with clipped projections.

Source: Hugging Face modeling_mpt.py; tensor names as in GGUF arch "mpt".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, clipped, feed_forward, layer_norm_logits, norm, queries_keys_values
from pacos.models.hf_config import Config, Metadata, four_times, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers, outside


def _read_config(config: Config) -> Metadata:
    attention = {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None, **(config.get("attn_config") or {})}
    return {
        **{**sizes(config), **four_times(config)},
        "attention.head_count_kv": attention.get("kv_n_heads"),
        "attention.clamp_kqv": attention["clip_qkv"],
        "attention.max_alibi_bias": float(attention["alibi_bias_max"]) if attention["alibi"] else 0.0,
    }


MPT = HuggingFace(
    classes=("MptForCausalLM", "MPTForCausalLM"),
    names=(
        *outside(token_embd="wte", position_embd="wpe", output_norm="norm_f", output="lm_head"),
        *in_layers(
            "blocks.{i}",
            attn_norm="norm_1",
            attn_qkv="attn.Wqkv",
            attn_output="attn.out_proj",
            ffn_norm="norm_2",
            ffn_up="ffn.up_proj",
            ffn_down="ffn.down_proj",
        ),
    ),
    metadata=_read_config,
    defaults={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
)


@architecture("mpt", hf=MPT, rope="")
def mpt(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    max_bias = hp.keys.number("attention.max_alibi_bias", 0, 1e3, 0.0) or None
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    if "position_embd" in weights:
        x = x + ops.embed(inputs.positions, weights["position_embd"])
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = clipped(queries_keys_values(norm(x, w, "attn_norm", hp), w, hp, i), hp)
        x = x + attend(qkv, w, inputs, hp, i, max_bias=max_bias)
        x = x + feed_forward(norm(x, w, "ffn_norm", hp), w, ops.gelu)
    return layer_norm_logits(x, inputs, weights, hp)
