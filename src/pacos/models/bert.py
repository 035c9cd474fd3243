"""BERT and its kin: encoders whose tokens all see each other, with layer norms behind attention and feed-forward unit.

Source: Hugging Face modeling_bert.py and modeling_xlm_roberta.py; tensor names as in GGUF arch "bert", whose learned
positions begin at the first token. The exact GELU; llama.cpp computes its tanh form.
Shapes: T tokens in the step, R rows wanted, D model width, H heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import project, project_heads
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture

CLASSES = tuple(
    f"{family}{use}"
    for family in ("Bert", "Roberta", "XLMRoberta", "Camembert")
    for use in ("Model", "ForMaskedLM", "ForSequenceClassification")
)
ENCODER = {"attention.causal": False}


@architecture("bert", hf=CLASSES, rope="", defaults=ENCODER)
def bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    if "token_types" in weights:
        x = x + ops.embed(inputs.types, weights["token_types"])
    x = x + ops.embed(inputs.positions, weights["position_embd"])
    x = norm(x, weights, "token_embd_norm", hp)
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = (project_heads(x, w, name, hp.head_width) for name in ("attn_q", "attn_k", "attn_v"))  # [T, H, E]
        a = ops.attention(q, k, v, cache=inputs.cache[0], scale=hp.scale, bidirectional=True)
        x = norm(x + project(a, w, "attn_output"), w, "attn_output_norm", hp)
        h = project(ops.gelu(project(x, w, "ffn_up")), w, "ffn_down")
        x = norm(x + h, w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


def norm(x: Tensor, w: WeightTable, name: str, hp: Hparams) -> Tensor:
    """The layer norm of that name. Shapes: [T, D] -> [T, D]."""
    y: Tensor = ops.layer_norm(x, w[name], w.get(f"{name}.bias"), eps=hp.norm_eps)
    return y
