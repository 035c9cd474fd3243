"""Qwen 3, dense: Qwen 2 without biases, with an RMS norm on each query and key head.

Source: Hugging Face modeling_qwen3.py; tensor names as in GGUF arch "qwen3".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, project_heads, silu_feed_forward
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.qwen2 import read_config
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS

QWEN3 = HuggingFace(
    classes=("Qwen3ForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED),
    metadata=read_config,
    defaults={
        **{"rms_norm_eps": 1e-6, "head_dim": 128, "max_window_layers": 28, "num_key_value_heads": 32},
    },
)


@architecture("qwen3", hf=QWEN3)
def qwen3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = project_heads(h, w, "attn_q", hp.head_width)  # [T, H, E]
        k = project_heads(h, w, "attn_k", hp.head_width)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        q = ops.rope(ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps), inputs.positions, hp.rope)
        k = ops.rope(ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps), inputs.positions, hp.rope)
        a = ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale, window=hp.windows[i])
        x = x + project(a, w, "attn_output")
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
