"""The decoder that most mixtures of experts are: Llama's, with the fused matrices, biases, norms and experts it has.

Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project
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
    q, k, v = queries_keys_values(h, w, hp, layer)
    rope = hp.rope_of(layer)
    q, k = (ops.rope(part, inputs.positions, rope) for part in (q, k))
    options = {"scale": hp.scale, "window": hp.windows[layer], **options}
    return project(ops.attention(q, k, v, w.get("attn_sinks"), cache=inputs.cache[layer], **options), w, "attn_output")


def queries_keys_values(h: Tensor, w: WeightTable, hp: Hparams, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heads by one matrix or three; queries and keys are normed by whole rows or by heads, as wide as the norm is.

    Shapes: [T, D] -> [T, H, E], [T, K, E], [T, K, E].
    """
    q, k, v = (
        _normed(x, w, name, width, hp)
        for x, name, width in zip(
            projected(h, w, hp, layer),
            ("attn_q_norm", "attn_k_norm", ""),
            (hp.head_width, hp.head_width, hp.value_width),
            strict=True,
        )
    )
    return q, k, v


def projected(h: Tensor, w: WeightTable, hp: Hparams, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of queries, keys and values. Shapes: [T, D] -> [T, H * E], [T, K * E], [T, K * E]."""
    if "attn_qkv" not in w:
        return project(h, w, "attn_q"), project(h, w, "attn_k"), project(h, w, "attn_v")
    qkv = project(h, w, "attn_qkv")
    ends = [0, hp.heads[layer] * hp.head_width]
    ends += [ends[1] + hp.key_heads[layer] * hp.head_width]
    ends += [ends[2] + hp.key_heads[layer] * hp.value_width]
    q, k, v = (ops.columns(qkv, start=ends[n], stop=ends[n + 1]) for n in range(3))
    return q, k, v


def _normed(x: Tensor, w: WeightTable, name: str, width: int, hp: Hparams) -> Tensor:
    norm = w.get(name) if name else None
    if norm is None:
        return ops.heads(x, width=width)  # type: ignore[no-any-return]
    if norm.shape == x.shape[1:]:
        return ops.heads(ops.rms_norm(x, norm, eps=hp.norm_eps), width=width)  # type: ignore[no-any-return]
    return ops.rms_norm(ops.heads(x, width=width), norm, eps=hp.norm_eps)  # type: ignore[no-any-return]
