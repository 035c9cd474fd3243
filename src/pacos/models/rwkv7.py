"""RWKV 7: tokens mixed with their predecessors, a state that each token reads, corrects and adds to.

Source: arXiv:2503.14456; tensor names as in GGUF arch "rwkv7". Files alone: no class of transformers holds the family.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, N head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.recurrent import ROW_WIDTH_MAX
from pacos.models.blocks import norm, project
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture

_FASTEST = -0.606531  # the logarithm of the strongest decay
_HEAD_NORM_EPS = 64e-5
_L2_EPS = 1e-12


@architecture("rwkv7", rope="", recurrent=True)
def rwkv7(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = norm(ops.embed(inputs.tokens, weights["token_embd"]), weights, "token_embd_norm", hp)  # [T, D]
    first: Tensor | None = None
    for i in range(hp.layers):
        w = weights.block(i)
        mixed, first = _time_mix(norm(x, w, "attn_norm", hp), first, inputs, w, hp)
        x = x + mixed
        h = norm(x, w, "attn_norm_2", hp)
        h = ops.lerp(h, ops.token_before(h, state=inputs.state()), w["channel_mix_lerp_k"])
        x = x + project(ops.relu_squared(project(h, w, "channel_mix_key")), w, "channel_mix_value")
    x = norm(ops.take(x, inputs.outputs), weights, "output_norm", hp)  # [R, D]
    return project(x, weights, "output")


def _narrow(x: Tensor, w: WeightTable, name: str) -> Tensor:
    """A projection through few dimensions, without what may stand between. Shapes: [T, D] -> [T, D]."""
    return project(project(x, w, f"time_mix_{name}1"), w, f"time_mix_{name}2")


def _time_mix(x: Tensor, first: Tensor | None, inputs: Inputs, w: WeightTable, hp: Hparams) -> tuple[Tensor, Tensor]:
    """The layer's part that sees all tokens before, and the first layer's values, which all layers share."""
    N = hp.keys.integer("wkv.head_size", 1, ROW_WIDTH_MAX)
    before = ops.token_before(x, state=inputs.state())
    r, d, k, v, a, g = (ops.lerp(x, before, w["time_mix_lerp_fused"], row=row) for row in range(6))
    if first is not None:
        share = ops.sigmoid(_narrow(v, w, "v") + w["time_mix_v0"])
    r, k, value = (project(part, w, f"time_mix_{name}") for part, name in ((r, "receptance"), (k, "key"), (v, "value")))
    value = value if first is None else ops.lerp(value, first, share)
    d = project(ops.softcap(project(d, w, "time_mix_w1"), cap=1.0), w, "time_mix_w2") + w["time_mix_w0"]
    decay = ops.scale(ops.sigmoid(d), factor=_FASTEST)  # [T, D], logarithms
    a = ops.sigmoid(_narrow(a, w, "a") + w["time_mix_a0"])
    removed = ops.l2_norm(ops.heads(k * w["time_mix_k_k"], width=N), eps=_L2_EPS)  # [T, H, N]
    k = ops.lerp(k, k * a, w["time_mix_k_a"])
    r, decay, k, v, a = (ops.heads(part, width=N) for part in (r, decay, k, value, a))
    y = ops.wkv7(r, decay, k, v, ops.scale(removed, factor=-1.0), removed * a, state=inputs.state())
    y = ops.layer_norm(ops.heads(y, width=N), w["time_mix_ln"], w["time_mix_ln.bias"], eps=_HEAD_NORM_EPS)
    y = ops.flat(y) + ops.head_bonus(r, k, v, w["time_mix_r_k"])
    if "time_mix_g1" in w:
        y = y * project(ops.sigmoid(project(g, w, "time_mix_g1")), w, "time_mix_g2")
    return project(y, w, "time_mix_output"), (value if first is None else first)
