"""OLMo 1: Llama with layer norms that have no weights, at times with clipped projections.

Source: Hugging Face modeling_olmo.py; tensor names as in GGUF arch "olmo".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, clipped, queries_keys_values, silu_feed_forward
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, PAIRED_ATTENTION

OLMO = HuggingFace(
    classes=("OlmoForCausalLM", "OLMoForCausalLM"),
    names=(*ENDS, *PAIRED_ATTENTION, *GATED),
    metadata=lambda config: {
        **{**decoder(config), "attention.layer_norm_epsilon": 1e-5},
        "attention.clamp_kqv": config.get("clip_qkv"),
    },
)


@architecture("olmo", hf=OLMO, rope="pairs")
def olmo(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.layer_norm(x, None, None, eps=hp.norm_eps)
        q, k, v = clipped(queries_keys_values(h, w, hp, i), hp)
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        x = x + attend((q, k, v), w, inputs, hp, i)
        x = x + silu_feed_forward(ops.layer_norm(x, None, None, eps=hp.norm_eps), w)
    x = ops.layer_norm(ops.take(x, inputs.outputs), None, None, eps=hp.norm_eps)  # [R, D]
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), None)
    return y
