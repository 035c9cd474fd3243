"""Multi-headed latent attention: keys and values of all heads come of one narrow row a token, which is what is cached.

Source: arXiv:2405.04434 (DeepSeek V2). GGUF files hold the matrices that widen the latent row for keys and for values
(`attn_k_b`, `attn_v_b`), so that queries can be narrowed instead; files from before hold one for both (`attn_kv_b`),
and cache whole keys and values.
Shapes: T tokens, D model width, H heads, E key width, of which the last P turn with the position, F value width,
L latent width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.rope import RopeSpec
from pacos.models.blocks import project
from pacos.models.hparams import CONTEXT_MAX, HEAD_WIDTH_MAX, HEADS_MAX, Hparams


@dataclass(frozen=True, slots=True)
class Latent:
    """Widths of queries, keys and values, rotary positions and the factor on scores."""

    key_width: int
    value_width: int
    width: int
    rope: RopeSpec
    scale: float
    turns: bool = True  # else the family knows places otherwise
    sharper: float = 0.0  # how much more sharply queries look that are further from the start; 0: all look alike
    sharper_length: float = 1.0

    @classmethod
    def read(cls, hp: Hparams) -> Latent:
        """What the metadata says. Errors: FormatError naming key, value and range."""
        keys = hp.keys
        key_width = keys.integer("attention.key_length_mla", 1, HEAD_WIDTH_MAX, hp.head_width)
        value_width = keys.integer("attention.value_length_mla", 1, HEAD_WIDTH_MAX, hp.value_width)
        width = keys.integer("attention.kv_lora_rank", 1, HEAD_WIDTH_MAX)
        if hp.rope.width >= key_width:
            raise keys.refuse("rope.dimension_count", f"a number below the keys' width, {key_width}")
        rope, temperature = hp.rope, 1.0
        growth = keys.number("rope.scaling.yarn_log_multiplier", 0, HEADS_MAX, 0.0)
        if rope.scaling == "yarn" and growth:  # YaRN's temperature is on the scores of all dimensions alike
            stretch = math.log(rope.factor)
            temperature = 1 + growth * stretch
            rope = replace(rope, attention_factor=rope.attention_factor / (1 + 0.1 * stretch))
        sharper = keys.number("attention.temperature_scale", 0, 1e3, 0.0)
        length = keys.integer(
            "attention.temperature_length", 1, CONTEXT_MAX, rope.original_context or hp.context_length
        )
        scale = temperature**2 * key_width**-0.5
        return cls(key_width, value_width, width, rope, scale, sharper=sharper, sharper_length=float(length))

    @property
    def still(self) -> int:
        """How many dimensions of a key do not turn."""
        return self.key_width - self.rope.width


def latent_attention(
    h: Tensor, w: WeightTable, inputs: Inputs, layer: int, eps: float, form: Latent, factors: Tensor | None = None
) -> Tensor:
    """Attention over latent rows, and the output projection. Shapes: [T, D] -> [T, D].

    `factors` divide the rotary frequencies.
    """
    q = h
    if "attn_q_a" in w:
        q = ops.rms_norm(project(h, w, "attn_q_a"), w["attn_q_a_norm"], eps=eps)
    q = ops.heads(project(q, w, "attn_q_b" if "attn_q_a" in w else "attn_q"), width=form.key_width)  # [T, H, E]
    if form.sharper:
        q = ops.temper(q, inputs.positions, length=form.sharper_length, scale=form.sharper, offset=0.0)
    both = project(h, w, "attn_kv_a_mqa")  # [T, L + P]
    end = form.width + form.rope.width
    row = ops.rms_norm(ops.columns(both, start=0, stop=form.width), w["attn_kv_a_norm"], eps=eps)  # [T, L]
    turning = ops.heads(ops.columns(both, start=form.width, stop=end), width=form.rope.width)  # [T, 1, P]
    turning = ops.rope(turning, inputs.positions, form.rope, factors) if form.turns else turning
    q_turning = ops.part(q, start=form.still, stop=form.key_width)  # [T, H, P]
    q_turning = ops.rope(q_turning, inputs.positions, form.rope, factors) if form.turns else q_turning
    q_still = ops.part(q, start=0, stop=form.still)  # [T, H, E - P]
    cache = inputs.cache[layer]
    if "attn_k_b" in w:
        latent = ops.heads(row, width=form.width)  # [T, 1, L]
        q = ops.join(ops.expert_linear(q_still, None, w["attn_k_b"], None), q_turning)  # [T, H, L + P]
        a = ops.attention(q, ops.join(latent, turning), latent, cache=cache, scale=form.scale)  # [T, H * L]
        a = ops.flat(ops.expert_linear(ops.heads(a, width=form.width), None, w["attn_v_b"], None))  # [T, H * F]
    else:
        wide = ops.heads(project(row, w, "attn_kv_b"), width=form.still + form.value_width)  # [T, H, E - P + F]
        k = ops.join(ops.part(wide, start=0, stop=form.still), turning)  # [T, H, E]
        v = ops.part(wide, start=form.still, stop=form.still + form.value_width)  # [T, H, F]
        a = ops.attention(ops.join(q_still, q_turning), k, v, cache=cache, scale=form.scale)
    return project(a, w, "attn_output")
