"""GPT-2: learned positions, centred layer norms with biases, one fused projection for queries, keys and values.

Source: Hugging Face modeling_gpt2.py; tensor names as in GGUF arch "gpt2", matrices stored [out, in].
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import project
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture


@architecture("gpt2", hf=("GPT2LMHeadModel",), rope="")
def gpt2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    x = x + ops.embed(inputs.positions, weights["position_embd"])
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.layer_norm(x, w["attn_norm"], w["attn_norm.bias"], eps=hp.norm_eps)
        qkv = project(h, w, "attn_qkv")  # [T, 3 D]
        q, k, v = (ops.columns(qkv, start=n * hp.width, stop=(n + 1) * hp.width) for n in range(3))
        q, k, v = (ops.heads(part, width=hp.head_width) for part in (q, k, v))  # [T, H, E]
        x = x + project(ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale), w, "attn_output")
        h = ops.layer_norm(x, w["ffn_norm"], w["ffn_norm.bias"], eps=hp.norm_eps)
        x = x + project(ops.gelu_tanh(project(h, w, "ffn_up")), w, "ffn_down")
    x = ops.take(x, inputs.outputs)  # [R, D]
    x = ops.layer_norm(x, weights["output_norm"], weights["output_norm.bias"], eps=hp.norm_eps)
    y: Tensor = ops.linear(x, weights.first("output", "token_embd"), None)  # [R, V]
    return y
