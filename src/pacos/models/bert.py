"""BERT and its kin: encoders whose tokens all see each other, with layer norms behind attention and feed-forward unit.

Source: Hugging Face modeling_bert.py, modeling_xlm_roberta.py and modeling_nomic_bert.py, Jina AI's modeling_bert.py;
tensor names as in GGUF arch "bert", "nomic-bert" and "jina-bert-v2", whose learned positions begin at the first token.
The exact GELU; llama.cpp computes its tanh form.
Shapes: T tokens in the step, R rows wanted, D model width, H heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import project, silu_feed_forward
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture

CLASSES = tuple(
    f"{family}{use}"
    for family in ("Bert", "Roberta", "XLMRoberta", "Camembert")
    for use in ("Model", "ForMaskedLM", "ForSequenceClassification")
)
ENCODER = {"attention.causal": False}
_MAX_BIAS = 8.0  # of ALiBi


@architecture("bert", hf=CLASSES, rope="", defaults=ENCODER)
def bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    x = _embedded(inputs, weights) + ops.embed(inputs.positions, weights["position_embd"])  # [T, D]
    x = norm(x, weights, "token_embd_norm", hp)
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = _projected(x, w, hp)
        a = ops.attention(q, k, v, cache=inputs.cache[0], scale=hp.scale, bidirectional=True)
        x = norm(x + project(a, w, "attn_output"), w, "attn_output_norm", hp)
        h = project(ops.gelu(project(x, w, "ffn_up")), w, "ffn_down")
        x = norm(x + h, w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


@architecture("nomic-bert", hf=("NomicBertModel",), defaults=ENCODER)
def nomic_bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D]: rotary positions, gated SiLU."""
    x = norm(_embedded(inputs, weights), weights, "token_embd_norm", hp)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = _projected(x, w, hp)
        q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
        a = ops.attention(q, k, v, cache=inputs.cache[0], scale=hp.scale, bidirectional=True)
        x = norm(x + project(a, w, "attn_output"), w, "attn_output_norm", hp)
        x = norm(x + silu_feed_forward(x, w), w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


@architecture("jina-bert-v2", hf=(), rope="", defaults=ENCODER)
def jina_bert_v2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D]: no positions but ALiBi's bias, gated GELU; some have more norms."""
    x = norm(_embedded(inputs, weights), weights, "token_embd_norm", hp)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = _projected(x, w, hp)
        a = ops.attention(q, k, v, cache=inputs.cache[0], scale=hp.scale, bidirectional=True, max_bias=_MAX_BIAS)
        before, x = x, norm(x + project(a, w, "attn_output"), w, "attn_output_norm", hp)
        if "attn_norm_2" in w:
            x = norm(x + before, w, "attn_norm_2", hp)
        h = project(ops.gelu(project(x, w, "ffn_gate")) * project(x, w, "ffn_up"), w, "ffn_down")
        x = norm(x + h, w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


def _embedded(inputs: Inputs, weights: WeightTable) -> Tensor:
    x: Tensor = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    return x + ops.embed(inputs.types, weights["token_types"]) if "token_types" in weights else x


def _projected(x: Tensor, w: WeightTable, hp: Hparams) -> tuple[Tensor, ...]:
    """Queries, keys and values, by one matrix or three. Shapes: [T, D] -> [T, H, E] each."""
    if "attn_qkv" not in w:
        parts = tuple(project(x, w, name) for name in ("attn_q", "attn_k", "attn_v"))
    else:
        qkv = project(x, w, "attn_qkv")  # [T, 3 D]
        parts = tuple(ops.columns(qkv, start=n * hp.width, stop=(n + 1) * hp.width) for n in range(3))
    if "attn_q_norm" in w:
        parts = (norm(parts[0], w, "attn_q_norm", hp), norm(parts[1], w, "attn_k_norm", hp), parts[2])
    return tuple(ops.heads(part, width=hp.head_width) for part in parts)


def norm(x: Tensor, w: WeightTable, name: str, hp: Hparams) -> Tensor:
    """The layer norm of that name. Shapes: [T, D] -> [T, D]."""
    y: Tensor = ops.layer_norm(x, w[name], w.get(f"{name}.bias"), eps=hp.norm_eps)
    return y
