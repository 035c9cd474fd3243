"""Recurrent mixers that several families share.

Shapes: T tokens in the step, D model width, C inner width, N width of a state's row, H heads, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.rope import RopeSpec
from pacos.lazy import np
from pacos.models.blocks import project, project_heads
from pacos.models.hparams import Hparams
from pacos.models.recurrence import Recurrence
from pacos.models.tensor_names import Names, Sizes, TensorName, in_layers, layer_pair, mapped, reshaped

_FALCON_NORM_EPS = 1e-6  # FalconMambaConfig.mixer_rms_eps, which no file holds

MINUS_EXP = mapped("minus exp", lambda x, _: -np.exp(x))
# Taps [C, 1, L] become [C, L]; their biases stay.
TAPS = reshaped("taps", lambda shape, _: (shape[0], *shape[2:]))
_COLUMN = reshaped("column", lambda shape, _: (*shape, 1))


def selective_names(at: str) -> Names:
    """What Mamba's mixer is made of, under that name of a layer's part."""
    return (
        *in_layers(at, ssm_in="in_proj", ssm_x="x_proj", ssm_dt="dt_proj", ssm_out="out_proj"),
        *layer_pair("ssm_conv1d", "conv1d", TAPS, at=at),
        TensorName("blk.{i}.ssm_a", f"{at}.A_log", (MINUS_EXP,)),
        TensorName("blk.{i}.ssm_d", f"{at}.D"),
    )


def grouped_names(at: str, groups: Callable[[Mapping[str, Any]], int]) -> Names:
    """What Mamba 2's mixer is made of; `groups` finds their number in a config."""

    def grouped(shape: Sizes, config: Mapping[str, Any]) -> Sizes:
        return (groups(config), shape[0] // groups(config))

    return (
        *in_layers(at, ssm_in="in_proj", ssm_out="out_proj"),
        *layer_pair("ssm_conv1d", "conv1d", TAPS, at=at),
        TensorName("blk.{i}.ssm_dt.bias", f"{at}.dt_bias"),
        TensorName("blk.{i}.ssm_a", f"{at}.A_log", (MINUS_EXP, _COLUMN)),
        TensorName("blk.{i}.ssm_d", f"{at}.D", (_COLUMN,)),
        TensorName("blk.{i}.ssm_norm.weight", f"{at}.norm.weight", (reshaped("groups", grouped),)),
    )


def refuse_step_limits(config: Mapping[str, Any], key: str = "time_step_limit") -> None:
    """Errors: UnsupportedModel when a config bounds the time steps."""
    limits = config.get(key)
    if limits is not None and (list(limits)[:1] != [0] or list(limits)[1:] != [math.inf]):
        raise UnsupportedModel(f"config.json: {key} is {limits!a}, supported is [0, Infinity] alone")


def attention_layers(config: Mapping[str, Any], attends: Sequence[bool]) -> list[int]:
    """Key heads of each layer, 0 in those that do not attend. Errors: FormatError when not every layer is named."""
    layers, heads = config.get("num_hidden_layers"), config.get("num_key_value_heads")
    if layers is None:
        raise FormatError("config.json: num_hidden_layers is missing")
    if len(attends) != layers:
        raise FormatError(f"config.json: {len(attends)} kinds of layers for {layers!a} layers")
    return [int(heads or config["num_attention_heads"]) if one else 0 for one in attends]


def attend_anywhere(
    h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int, rope: RopeSpec | None = None
) -> Tensor:
    """Attention of a layer, turned by positions where the family does so: recurrent layers tell the place already.

    Shapes: [T, D] -> [T, D].
    """
    q = project_heads(h, w, "attn_q", hp.head_width)  # [T, H, E]
    k = project_heads(h, w, "attn_k", hp.head_width)  # [T, K, E]
    v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
    if rope is not None:
        q, k = (ops.rope(part, inputs.positions, rope) for part in (q, k))
    return project(ops.attention(q, k, v, cache=inputs.cache[layer], scale=hp.scale), w, "attn_output")


def selective_mixer(x: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams) -> Tensor:
    """Mamba's mixer: a short convolution, then a scan whose steps, inputs and outputs depend on the token.

    Shapes: [T, D] -> [T, D]. Source: arXiv:2312.00752; norms: FalconMamba and Jamba.
    """
    form = Recurrence.from_keys(hp.keys)
    C, N, rank = form.inner, form.state, form.rank
    eps = _FALCON_NORM_EPS if form.normed else hp.norm_eps
    both = project(x, w, "ssm_in")  # [T, 2 C]
    z = ops.columns(both, start=C, stop=2 * C)
    x = ops.columns(both, start=0, stop=C)
    x = ops.silu(ops.short_conv(x, w["ssm_conv1d"], w.get("ssm_conv1d.bias"), state=inputs.state()))
    parts = project(x, w, "ssm_x")  # [T, rank + 2 N]
    dt, b, c = (
        ops.rms_norm(one, w.get(f"ssm_{name}_norm"), eps=eps) if form.normed or f"ssm_{name}_norm" in w else one
        for name, one in (
            ("dt", ops.columns(parts, start=0, stop=rank)),
            ("b", ops.columns(parts, start=rank, stop=rank + N)),
            ("c", ops.columns(parts, start=rank + N, stop=rank + 2 * N)),
        )
    )
    dt = ops.softplus(project(dt, w, "ssm_dt"))  # [T, C]
    y = ops.selective_scan(x, dt, b, c, w.bare("ssm_a"), state=inputs.state()) + x * w.bare("ssm_d")
    return project(ops.silu(z) * y, w, "ssm_out")


def grouped_mixer(x: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams) -> Tensor:
    """Mamba 2's mixer: one projection gives all, heads have one decay each, groups of heads share input and output.

    Shapes: [T, D] -> [T, D]. Source: arXiv:2405.21060.
    """
    form = Recurrence.from_keys(hp.keys)
    C, N, H, G = form.inner, form.state, form.rank, form.groups
    wide = C + 2 * G * N
    parts = project(x, w, "ssm_in")  # [T, C + wide + H]
    z = ops.columns(parts, start=0, stop=C)
    dt = ops.softplus(ops.columns(parts, start=C + wide, stop=C + wide + H) + w["ssm_dt.bias"])  # [T, H]
    x = ops.columns(parts, start=C, stop=C + wide)
    x = ops.silu(ops.short_conv(x, w["ssm_conv1d"], w.get("ssm_conv1d.bias"), state=inputs.state()))
    b = ops.heads(ops.columns(x, start=C, stop=C + G * N), width=N)  # [T, G, N]
    c = ops.heads(ops.columns(x, start=C + G * N, stop=wide), width=N)
    x = ops.heads(ops.columns(x, start=0, stop=C), width=C // H)  # [T, H, C / H]
    y = ops.grouped_scan(x, dt, b, c, w.bare("ssm_a"), state=inputs.state())
    y = ops.silu(z) * (y + ops.flat(ops.scale_heads(x, w.bare("ssm_d"))))
    if "ssm_norm" in w:
        y = ops.flat(ops.rms_norm(ops.heads(y, width=C // G), w["ssm_norm"], eps=hp.norm_eps))
    return project(y, w, "ssm_out")
