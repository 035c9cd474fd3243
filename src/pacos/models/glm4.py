"""GLM-4 and GLM-Z1 of 2025: the earlier GLM-4 with norms behind attention and feed-forward unit too; GLM-4.1V, text.

Source: Hugging Face modeling_glm4.py and modeling_glm4v.py; tensor names as in GGUF arch "glm4". Files of models that
see name sections of rotary pairs, and hold the pairs as halves; of text, all places that the sections tell apart are
the same.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, fused_silu_feed_forward, logits, rotated
from pacos.models.chatglm import GLM
from pacos.models.hf_config import Config, Metadata, decoder, head_width, position_sections
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture
from pacos.models.tensor_names import Names, in_layers, picked

_NORMS = in_layers(post_attention_norm="post_self_attn_layernorm", post_ffw_norm="post_mlp_layernorm")
GLM4 = replace(
    GLM,
    classes=("Glm4ForCausalLM",),
    names=(*GLM.names, *_NORMS),
    defaults=GLM.defaults,
)
_SECTIONS = (8, 12, 12)  # of every published one


def _halves(rows: int, config: Config) -> Sequence[range]:
    """Of each head what turns, first places of pairs before second ones, and what does not."""
    width, turning = head_width(config) or rows, decoder(config)["rope.dimension_count"]
    parts = (range(0, turning, 2), range(1, turning, 2), range(turning, width))
    return [range(at + one.start, at + one.stop, one.step) for at in range(0, rows, width) for one in parts]


def _halved(names: Names) -> Names:
    change, ends = picked("halves", _halves), (".q_proj.weight", ".q_proj.bias", ".k_proj.weight", ".k_proj.bias")
    return tuple(replace(one, changes=(*one.changes, change)) if one.hf.endswith(ends) else one for one in names)


def _read_seeing(config: Config) -> Metadata:
    return decoder(config) | position_sections(config, _SECTIONS)


GLM4V = replace(
    GLM4,
    classes=("Glm4vForConditionalGeneration",),
    names=_halved(GLM4.names),
    metadata=_read_seeing,
    defaults={"rms_norm_eps": 1e-5, "num_key_value_heads": 2},
)


@architecture("glm4", hf=(GLM4, GLM4V), rope="pairs")
def glm4(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    sections = hp.keys.get("rope.dimension_sections")
    if isinstance(sections, list | tuple | array) and any(sections):
        halves = replace(hp.rope, style="halves")
        hp = replace(hp, rope=halves, rope_windowed=halves)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        a = attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        x = x + ops.rms_norm(a, w["post_attention_norm"], eps=hp.norm_eps)
        h = fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w["post_ffw_norm"], eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)
