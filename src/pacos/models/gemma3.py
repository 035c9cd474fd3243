"""Gemma 3, text: Gemma 2 without soft caps, with norms on query and key heads; five windowed layers to a full one.

Source: Hugging Face modeling_gemma3.py; tensor names as in GGUF arch "gemma3", whose norm weights have 1 added.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from collections.abc import Callable

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import gelu_feed_forward, logits, project, project_heads
from pacos.models.gemma import ACTIVATIONS
from pacos.models.gemma import DEFAULTS as GEMMA
from pacos.models.gemma2 import score_scale
from pacos.models.hf_config import decoder, windows
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, FOUR_NORMS, GATED, HEAD_NORMS, PLUS_ONE, changed

_LAYERS_27B = 62

DEFAULTS = {
    "attention.sliding_window_pattern": 6,
    "rope.freq_base": 1e6,
    "rope.freq_base_swa": 1e4,  # windowed layers; never stretched
}


GEMMA3 = HuggingFace(
    classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    names=changed((*ENDS, *FOUR_NORMS, *ATTENTION, *HEAD_NORMS, *GATED), PLUS_ONE, "norm.weight"),
    metadata=lambda config: decoder(config) | windows(config, config["sliding_window_pattern"]),
    defaults={
        **{**GEMMA, "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6},
        **{"rope_theta": 1e6, "rope_local_base_freq": 1e4, "vocab_size": 262208, "max_position_embeddings": 131072},
        **{"num_attention_heads": 8, "num_key_value_heads": 4},  # which the files of 4B leave out
    },
    activations=ACTIVATIONS,
)


@architecture("gemma3", hf=GEMMA3, defaults=DEFAULTS)
def gemma3(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    scale = score_scale(hp, _LAYERS_27B)

    def attend(q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
        options = {"window": hp.windows[layer], "softcap": hp.attention_softcap}
        y: Tensor = ops.attention(q, k, v, cache=inputs.cache[layer], scale=scale, **options)
        return y

    y: Tensor = logits(all_layers(inputs, weights, hp, attend), inputs, weights, hp)
    return ops.softcap(y, cap=hp.final_softcap) if hp.final_softcap else y


def all_layers(
    inputs: Inputs, weights: WeightTable, hp: Hparams, attend: Callable[[Tensor, Tensor, Tensor, int], Tensor]
) -> Tensor:
    """Hidden states behind the last layer, whose attention the caller says. Shapes: [T, D]."""
    x: Tensor = ops.scale(ops.embed(inputs.tokens, weights["token_embd"]), factor=hp.width**0.5)  # [T, D]
    for i in range(hp.layers):
        w, rope = weights.block(i), hp.rope_of(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        q = project_heads(h, w, "attn_q", hp.head_width)  # [T, H, E]
        k = project_heads(h, w, "attn_k", hp.head_width)  # [T, K, E]
        v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
        q = ops.rope(ops.rms_norm(q, w["attn_q_norm"], eps=hp.norm_eps), inputs.positions, rope)
        k = ops.rope(ops.rms_norm(k, w["attn_k_norm"], eps=hp.norm_eps), inputs.positions, rope)
        a = project(attend(q, k, v, i), w, "attn_output")
        x = x + ops.rms_norm(a, w["post_attention_norm"], eps=hp.norm_eps)
        h = gelu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w["post_ffw_norm"], eps=hp.norm_eps)
    return x
