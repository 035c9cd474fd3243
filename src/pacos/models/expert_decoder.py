"""The decoder that most mixtures of experts are: Llama's, with the fused matrices, biases, norms and experts it has.

Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, queries_keys_values
from pacos.models.hparams import Hparams
from pacos.models.mixture import feed_forward


def expert_decoder(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + self_attention(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), w, inputs, hp, i)
        h = ops.rms_norm(x, w.first("ffn_norm", "post_attention_norm"), eps=hp.norm_eps)
        x = x + feed_forward(h, w, hp.experts)
    return logits(x, inputs, weights, hp)


def self_attention(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int, **options: Any) -> Tensor:
    """Attention with rotary positions behind the norms of queries and keys, and with sinks, where the layer has them.

    Shapes: [T, D] -> [T, D].
    """
    q, k, v = normed_heads(h, w, hp, layer)
    rope = hp.rope_of(layer)
    q, k = (ops.rope(part, inputs.positions, rope) for part in (q, k))
    options = {"scale": hp.scale, "window": hp.windows[layer], **options}
    return project(ops.attention(q, k, v, w.get("attn_sinks"), cache=inputs.cache[layer], **options), w, "attn_output")


def normed_heads(h: Tensor, w: WeightTable, hp: Hparams, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, normed where the layer has norms, and values. Shapes: [T, D] -> [T, H, E], [T, K, E] twice."""
    q, k, v = queries_keys_values(h, w, hp, layer)
    return _normed(q, w, "attn_q_norm", hp), _normed(k, w, "attn_k_norm", hp), v


def _normed(x: Tensor, w: WeightTable, name: str, hp: Hparams) -> Tensor:
    """Norm heads, or whole rows where the norm is as wide. Shapes: [T, H, E] -> [T, H, E]."""
    norm = w.get(name)
    if norm is None:
        return x
    if norm.shape == x.shape[2:]:
        y: Tensor = ops.rms_norm(x, norm, eps=hp.norm_eps)
    else:
        y = ops.heads(ops.rms_norm(ops.flat(x), norm, eps=hp.norm_eps), width=x.shape[2])
    return y
