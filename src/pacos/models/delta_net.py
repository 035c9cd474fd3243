"""What Qwen3-Next and Qwen3.5 share: the gated delta rule, attention with gates, and how folders hold them.

Source: Hugging Face modeling_qwen3_next.py and modeling_qwen3_5.py.
Shapes: T tokens in the step, D model width, K key heads, H value heads, N key width, V value width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, project_heads
from pacos.models.hf_config import decoder, full_layers, positive
from pacos.models.hparams import Hparams
from pacos.models.mixers import MINUS_EXP, TAPS
from pacos.models.mixture import feed_forward
from pacos.models.recurrence import Recurrence
from pacos.models.tensor_names import (
    ATTENTION,
    ENDS,
    GATED,
    HEAD_NORMS,
    PLUS_ONE,
    TensorName,
    changed,
    in_layers,
    layer_pair,
)

_L2_EPS = 1e-6

NAMES = (
    *changed(
        (
            *ENDS,
            *in_layers(attn_norm="input_layernorm", post_attention_norm="post_attention_layernorm"),
            *HEAD_NORMS,
        ),
        PLUS_ONE,
        "norm.weight",
    ),
    *ATTENTION,
    *GATED,
    TensorName("blk.{i}.ssm_norm.weight", "layers.{i}.linear_attn.norm.weight"),
)
MIXER_NAMES = (
    *layer_pair("ssm_conv1d", "linear_attn.conv1d", TAPS),
    TensorName("blk.{i}.ssm_dt.bias", "layers.{i}.linear_attn.dt_bias"),
    TensorName("blk.{i}.ssm_a", "layers.{i}.linear_attn.A_log", (MINUS_EXP,)),
)
DEFAULTS: Mapping[str, Any] = {
    **{"rms_norm_eps": 1e-6, "head_dim": 256, "partial_rotary_factor": 0.25, "full_attention_interval": 4},
    **{"linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128},
    **{"linear_num_key_heads": 16, "linear_num_value_heads": 32},
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of both families."""
    inner = config["linear_value_head_dim"] * config["linear_num_value_heads"]
    return decoder(config) | {
        "ssm.conv_kernel": config.get("linear_conv_kernel_dim"),
        "ssm.state_size": config.get("linear_key_head_dim"),
        "ssm.group_count": config.get("linear_num_key_heads"),
        "ssm.time_step_rank": config.get("linear_num_value_heads"),
        "ssm.inner_size": inner,
        "attention.recurrent_layers": [
            not full for full in full_layers(config, int(positive(config, "full_attention_interval")))
        ],
        "full_attention_interval": config.get("full_attention_interval"),
    }


def delta_decoder(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + (delta_mixer(h, inputs, w, hp) if "ssm_out" in w else gated_attention(h, inputs, w, hp, i))
        x = x + feed_forward(ops.rms_norm(x, w["post_attention_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)


def gated_attention(h: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams, layer: int) -> Tensor:
    """Attention whose query matrix gives each head a gate as well. Shapes: [T, D] -> [T, D]."""
    E = hp.head_width
    both = project_heads(h, w, "attn_q", 2 * E)  # [T, H, 2 E]
    q = ops.rms_norm(ops.part(both, start=0, stop=E), w["attn_q_norm"], eps=hp.norm_eps)
    k = ops.rms_norm(project_heads(h, w, "attn_k", E), w["attn_k_norm"], eps=hp.norm_eps)
    v = project_heads(h, w, "attn_v", hp.value_width)
    q, k = (ops.rope(part, inputs.positions, hp.rope) for part in (q, k))
    a = ops.attention(q, k, v, cache=inputs.cache[layer], scale=hp.scale)
    return project(a * ops.sigmoid(ops.flat(ops.part(both, start=E, stop=2 * E))), w, "attn_output")


def delta_mixer(h: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams) -> Tensor:
    """A short convolution, then the gated delta rule; heads are normed and gated. Shapes: [T, D] -> [T, D]."""
    form = Recurrence.from_keys(hp.keys)
    N, V, keys = form.state, form.inner // form.rank, form.groups * form.state
    z = project(h, w, "attn_gate")  # [T, H V]
    x = ops.short_conv(project(h, w, "attn_qkv"), w["ssm_conv1d"], w.get("ssm_conv1d.bias"), state=inputs.state())
    x = ops.silu(x)  # [T, 2 K N + H V]
    q, k = (
        ops.l2_norm(ops.heads(ops.columns(x, start=start, stop=start + keys), width=N), eps=_L2_EPS)
        for start in (0, keys)
    )  # [T, K, N]
    v = ops.heads(ops.columns(x, start=2 * keys, stop=2 * keys + form.inner), width=V)  # [T, H, V]
    beta, alpha, tiled = _strengths(h, w, form)
    decay = ops.softplus(alpha + w["ssm_dt.bias"]) * w.bare("ssm_a")  # [T, H]
    y = ops.delta_rule(ops.scale(q, factor=N**-0.5), k, v, decay, ops.sigmoid(beta), state=inputs.state(), tiled=tiled)
    y = ops.flat(ops.rms_norm(ops.heads(y, width=V), w["ssm_norm"], eps=hp.norm_eps))
    return project(ops.silu(z) * y, w, "ssm_out")


def _strengths(h: Tensor, w: WeightTable, form: Recurrence) -> tuple[Tensor, Tensor, bool]:
    """Strength and decay of each value head, and whether heads that share a key head are far apart.

    Qwen3-Next has both in one matrix by key heads, Qwen3.5 in two.
    """
    if "ssm_ba" not in w:
        return project(h, w, "ssm_beta"), project(h, w, "ssm_alpha"), True
    each = form.rank // form.groups
    both = project_heads(h, w, "ssm_ba", 2 * each)  # [T, K, 2 H / K]
    beta, alpha = (ops.flat(ops.part(both, start=start, stop=start + each)) for start in (0, each))
    return beta, alpha, False
