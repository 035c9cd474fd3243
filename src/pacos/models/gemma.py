"""Gemma 1: Llama with embeddings scaled by the root of the width, gated GELU and wide heads.

Source: Hugging Face modeling_gemma.py; tensor names as in GGUF arch "gemma", whose norm weights have 1 added.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import gelu_feed_forward, logits, project, project_heads
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, PLUS_ONE, TWO_NORMS, changed

DEFAULTS = {"rms_norm_eps": 1e-6, "head_dim": 256, "tie_word_embeddings": True}
ACTIVATIONS = ("gelu_pytorch_tanh", "gelu")  # old files say "gelu" and mean its tanh form
GEMMA = HuggingFace(
    classes=("GemmaForCausalLM",),
    names=changed((*ENDS, *TWO_NORMS, *ATTENTION, *GATED), PLUS_ONE, "norm.weight"),
    metadata=decoder,
    defaults={**DEFAULTS, "num_key_value_heads": 16},
    activations=ACTIVATIONS,
)


@architecture("gemma", hf=GEMMA)
def gemma(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=hp.width**0.5)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = ops.rope(project_heads(h, w, "attn_q", hp.head_width), inputs.positions, hp.rope)  # [T, H, E]
        k = ops.rope(project_heads(h, w, "attn_k", hp.head_width), inputs.positions, hp.rope)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        x = x + project(ops.attention(q, k, v, cache=inputs.cache[i], scale=hp.scale), w, "attn_output")
        x = x + gelu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
