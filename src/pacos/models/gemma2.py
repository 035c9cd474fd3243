"""Gemma 2: Gemma with norms after each block too, soft caps on scores and logits, a window on every other layer.

Source: Hugging Face modeling_gemma2.py; tensor names as in GGUF arch "gemma2", whose norm weights have 1 added.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import gelu_feed_forward, logits, project, project_heads
from pacos.models.gemma import ACTIVATIONS
from pacos.models.gemma import DEFAULTS as GEMMA
from pacos.models.hf_config import decoder, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, FOUR_NORMS, GATED, PLUS_ONE, changed

_LAYERS_27B = 46

DEFAULTS = {
    "attention.sliding_window": 4096,
    "attention.sliding_window_pattern": 2,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}


GEMMA2 = HuggingFace(
    classes=("Gemma2ForCausalLM",),
    names=changed((*ENDS, *FOUR_NORMS, *ATTENTION, *GATED), PLUS_ONE, "norm.weight"),
    metadata=lambda config: decoder(config) | windows(config, 2),
    defaults={
        **{**GEMMA, "query_pre_attn_scalar": 256, "sliding_window": 4096},
        **{"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        "num_key_value_heads": 4,
    },
    activations=ACTIVATIONS,
)


@architecture("gemma2", hf=GEMMA2, defaults=DEFAULTS)
def gemma2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    scale = score_scale(hp, _LAYERS_27B)
    x = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=hp.width**0.5)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = ops.rope(project_heads(h, w, "attn_q", hp.head_width), inputs.positions, hp.rope)  # [T, H, E]
        k = ops.rope(project_heads(h, w, "attn_k", hp.head_width), inputs.positions, hp.rope)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        a = ops.attention(
            q, k, v, cache=inputs.cache[i], scale=scale, window=hp.windows[i], softcap=hp.attention_softcap
        )
        x = x + ops.rms_norm(project(a, w, "attn_output"), w["post_attention_norm"], eps=hp.norm_eps)
        h = gelu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w["post_ffw_norm"], eps=hp.norm_eps)
    y = logits(x, inputs, weights, hp)
    return ops.softcap(y, cap=hp.final_softcap) if hp.final_softcap else y


def score_scale(hp: Hparams, layers_27b: int) -> float:
    """Factor on attention scores: the file's; else, in the 27B model alone, by the width for each head.

    Source: llama.cpp's model type by layer count; GGUF files leave query_pre_attn_scalar out.
    """
    if hp.attention_scale or hp.layers != layers_27b:
        return hp.scale
    return float((hp.width / hp.heads[0]) ** -0.5)
