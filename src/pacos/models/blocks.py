"""Parts that several families share: projections, gated feed-forward units and output heads.

Shapes: T tokens in the step, R rows whose logits are wanted, D model width, N projected width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pacos.errors import UnsupportedModel, UsageError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.activations import tanh
from pacos.models.hparams import CONTEXT_MAX, Hparams


def project(x: Tensor, w: WeightTable, name: str) -> Tensor:
    """Multiply by the weight of that name and add its bias where the file has one. Shapes: [T, D] -> [T, N]."""
    y: Tensor = ops.linear(x, w[name], w.get(f"{name}.bias"))
    return y


def project_heads(x: Tensor, w: WeightTable, name: str, width: int) -> Tensor:
    """Project and see each row as heads of that width. Shapes: [T, D] -> [T, H, E]."""
    y: Tensor = ops.heads(project(x, w, name), width=width)
    return y


def norm(x: Tensor, w: WeightTable, name: str, hp: Hparams) -> Tensor:
    """The layer norm of that name, with its bias where the file has one. Shapes: [T, D] -> [T, D]."""
    y: Tensor = ops.layer_norm(x, w[name], w.get(f"{name}.bias"), eps=hp.norm_eps)
    return y


def queries_keys_values(h: Tensor, w: WeightTable, hp: Hparams, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by one fused matrix or by three. Shapes: [T, D] -> [T, H, E], [T, K, E], [T, K, F]."""
    if "attn_qkv" in w:
        qkv = project(h, w, "attn_qkv")  # [T, H E + K E + K F]
        q_end = hp.heads[layer] * hp.head_width
        k_end = q_end + hp.key_heads[layer] * hp.head_width
        v_end = k_end + hp.key_heads[layer] * hp.value_width
        cuts = ((0, q_end), (q_end, k_end), (k_end, v_end))
        q, k, v = (ops.columns(qkv, start=start, stop=stop) for start, stop in cuts)
    else:
        q, k, v = (project(h, w, name) for name in ("attn_q", "attn_k", "attn_v"))
    return (
        ops.heads(q, width=hp.head_width),
        ops.heads(k, width=hp.head_width),
        ops.heads(v, width=hp.value_width),
    )


def clipped(qkv: tuple[Tensor, Tensor, Tensor], hp: Hparams) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values within the limit that the file sets, if any. Shapes: as they are."""
    limit = hp.keys.number("attention.clamp_kqv", 0, 1e6, 0.0)
    if not limit:
        return qkv
    q, k, v = (ops.clip(part, limit=limit) for part in qkv)
    return q, k, v


def rotated(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys turned by their positions, and values. Shapes: [T, D] -> [T, H, E], [T, K, E], [T, K, F]."""
    q, k, v = queries_keys_values(h, w, hp, layer)
    rope = hp.rope_of(layer)
    return ops.rope(q, inputs.positions, rope), ops.rope(k, inputs.positions, rope), v


def attend(
    qkv: tuple[Tensor, Tensor, Tensor], w: WeightTable, inputs: Inputs, hp: Hparams, layer: int, **more: Any
) -> Tensor:
    """Attention within the layer's window, and the output projection. Shapes: [T, H, E], ... -> [T, D]."""
    options = {"cache": inputs.cache[layer], "scale": hp.scale, "window": hp.windows[layer], **more}
    return project(ops.attention(*qkv, **options), w, "attn_output")


def both_ways(qkv: tuple[Tensor, Tensor, Tensor], inputs: Inputs, hp: Hparams, layer: int) -> Tensor:
    """An encoder's attention, within the layer's window on either side. Shapes: [T, H, E], ... -> [T, H * F]."""
    more = {"window": hp.windows[layer], "bidirectional": True}
    y: Tensor = ops.attention(*qkv, cache=inputs.cache[0], scale=hp.scale, **more)  # one layer's pages serve all
    return y


def feed_forward(x: Tensor, w: WeightTable, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """A unit without a gate: down(activation(up(x))). Shapes: [T, D] -> [T, D]."""
    return project(activation(project(x, w, "ffn_up")), w, "ffn_down")


GELU_TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")  # names of one form


def gelu_of(hp: Hparams, usual: str) -> Callable[[Tensor], Tensor]:
    """The form of GELU that the file names, else what the family usually has: "gelu" or its tanh form."""
    name = hp.keys.choice("hidden_act", "gelu", GELU_TANH[0], default=usual)
    found: Callable[[Tensor], Tensor] = ops.gelu if name == "gelu" else ops.gelu_tanh
    return found


def fused_silu_feed_forward(x: Tensor, w: WeightTable) -> Tensor:
    """Llama's unit, gate and up in one matrix, the gate first. Shapes: [T, D] -> [T, D]."""
    return fused_feed_forward(x, w, ops.silu)


def fused_feed_forward(x: Tensor, w: WeightTable, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """A gated unit, gate and up in one matrix, the gate first. Shapes: [T, D] -> [T, D]."""
    both = project(x, w, "ffn_up")  # [T, 2 N]
    width = int(both.shape[-1]) // 2
    gate, up = (ops.columns(both, start=n * width, stop=(n + 1) * width) for n in range(2))
    return project(activation(gate) * up, w, "ffn_down")


def rope_factors(weights: WeightTable, hp: Hparams) -> Tensor | None:
    """What divides the rotary frequencies: Llama 3.1's factors, or those of LongRoPE for the context that is served.

    Shapes: [pairs].
    """
    if "rope_factors_long" not in weights:
        return weights.get("rope_freqs")
    original = hp.keys.integer("rope.scaling.original_context_length", 1, CONTEXT_MAX, hp.context_length)
    served = hp.context_asked or hp.context_length
    return weights["rope_factors_long" if served > original else "rope_factors_short"]


def silu_feed_forward(x: Tensor, w: WeightTable) -> Tensor:
    """The gated unit of Llama: down(silu(gate(x)) * up(x)). Shapes: [T, D] -> [T, D]. Source: arXiv:2002.05202."""
    return project(ops.silu(project(x, w, "ffn_gate")) * project(x, w, "ffn_up"), w, "ffn_down")


def gelu_feed_forward(x: Tensor, w: WeightTable) -> Tensor:
    """The gated unit of Gemma: down(gelu(gate(x)) * up(x)). Shapes: [T, D] -> [T, D]. Source: arXiv:2002.05202."""
    return project(ops.gelu_tanh(project(x, w, "ffn_gate")) * project(x, w, "ffn_up"), w, "ffn_down")


# Layers behind the pooling of an embedding model. As they are linear, a token may as well go through them before it.
PROJECTIONS = ("dense_2", "dense_3")


def projected(x: Tensor, w: WeightTable) -> Tensor:
    """Hidden states as the embedding model's own last layers, if it has some, make them. Shapes: [R, D] -> [R, N]."""
    for name in PROJECTIONS:
        if name in w:
            x = project(x, w, name)
    return x


def classify(x: Tensor, w: WeightTable, hp: Hparams) -> Tensor:
    """The head of rerankers on hidden states: tanh(cls(x)), or norm(gelu(cls(x))), then cls.output where there is one.

    Shapes: [R, D] -> [R, L], a number for each label. Errors: UsageError when the model has neither.
    """
    if "cls" not in w and "cls.output" not in w:
        hint = "use a reranker: its file has a tensor cls.output.weight"
        raise UsageError("this model has no head that ranks", hint=hint)
    if "cls" in w:
        h = project(x, w, "cls")
        x = norm(ops.gelu(h), w, "cls.norm", hp) if "cls.norm" in w else tanh(h)
    return project(x, w, "cls.output") if "cls.output" in w else x


def sequence_mean(x: Tensor, inputs: Inputs, hp: Hparams) -> Tensor:
    """The mean over all tokens of each row's sequence, of an encoder's rows that were taken last. Shapes: [R, D].

    Attention that likes all tokens the same is their mean.
    Errors: UnsupportedModel when other ops follow the taking, or key heads are fewer.
    """
    taken = next((node for node in x.trace.nodes if x.number in node.outputs and node.op == "take"), None)
    if taken is None or taken.inputs[0] is None or hp.heads[0] != hp.key_heads[0]:
        raise UnsupportedModel(f"{hp.architecture} does not classify the mean of all tokens")
    v = ops.heads(Tensor(x.trace, taken.inputs[0]), width=hp.head_width)  # [T, H, E]
    none = ops.scale(v, factor=0.0)
    mean = ops.attention(none, none, v, cache=inputs.cache[0], scale=1.0, bidirectional=True)
    y: Tensor = ops.take(mean, inputs.outputs)
    return y


def layer_norm_logits(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """As `logits`, with a layer norm. Shapes: [T, D] -> [R, V]."""
    x = norm(ops.take(x, inputs.outputs), weights, "output_norm", hp)  # [R, D]
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), weights.get("output.bias"))
    return y


def logits(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Normalise the rows wanted and score the vocabulary; tied when "output" is absent. Shapes: [T, D] -> [R, V]."""
    x = ops.rms_norm(ops.take(x, inputs.outputs), weights["output_norm"], eps=hp.norm_eps)  # [R, D]
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), weights.get("output.bias"))
    return y
