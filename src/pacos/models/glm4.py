"""GLM-4 and GLM-Z1 of 2025: the earlier GLM-4 with norms behind attention and feed-forward unit too.

Source: Hugging Face modeling_glm4.py; tensor names as in GGUF arch "glm4".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, fused_silu_feed_forward, logits, rotated
from pacos.models.chatglm import GLM
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture
from pacos.models.tensor_names import in_layers

_NORMS = in_layers(post_attention_norm="post_self_attn_layernorm", post_ffw_norm="post_mlp_layernorm")
GLM4 = replace(
    GLM,
    classes=("Glm4ForCausalLM",),
    names=(*GLM.names, *_NORMS),
    defaults=GLM.defaults,
)


@architecture("glm4", hf=GLM4, rope="pairs")
def glm4(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        a = attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + ops.rms_norm(a, w["post_attention_norm"], eps=hp.norm_eps)
        h = fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w["post_ffw_norm"], eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)
