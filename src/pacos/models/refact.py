"""Refact: Llama whose queries share one key head, with ALiBi's bias for positions.

Source: the modeling_gpt_refact.py of the published folders; tensor names as in GGUF arch "refact".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName, in_layers, outside, part

_MAX_BIAS = 8.0
_MULTIPLE = 256


def _read_config(config: Config) -> Metadata:
    found = sizes(config)
    width = found["embedding_length"]
    hidden = -(-(8 * width // 3) // _MULTIPLE) * _MULTIPLE if isinstance(width, int) else None
    return {
        **{**found, "feed_forward_length": hidden, "attention.head_count_kv": 1, "attention.layer_norm_epsilon": None},
        "attention.layer_norm_rms_epsilon": config.get("layer_norm_epsilon"),
    }


_UNIT = "h.{i}.mlp.gate_up_proj.weight"
REFACT = HuggingFace(
    classes=("GPTRefactForCausalLM",),
    names=(
        *outside(token_embd="wte", output_norm="ln_f", output="lm_head"),
        *in_layers("h.{i}", attn_norm="ln_1", attn_q="attn.q", attn_output="attn.c_proj", ffn_norm="ln_2"),
        TensorName("blk.{i}.attn_k.weight", "h.{i}.attn.kv.weight", (part(0, 2),)),
        TensorName("blk.{i}.attn_v.weight", "h.{i}.attn.kv.weight", (part(1, 2),)),
        TensorName("blk.{i}.ffn_gate.weight", _UNIT, (part(0, 2),)),
        TensorName("blk.{i}.ffn_up.weight", _UNIT, (part(1, 2),)),
        *in_layers("h.{i}", ffn_down="mlp.c_proj"),
    ),
    metadata=_read_config,
    defaults={"layer_norm_epsilon": 1e-5},
)


@architecture("refact", hf=REFACT, rope="")
def refact(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = queries_keys_values(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, hp, i)
        x = x + attend(qkv, w, inputs, hp, i, max_bias=_MAX_BIAS)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
