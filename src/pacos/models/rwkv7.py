"""RWKV 7: tokens mixed with their predecessors, a state that each token reads, corrects and adds to.

Source: arXiv:2503.14456; folders as the flash-linear-attention library has them; tensor names as in GGUF arch "rwkv7".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, N head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.recurrent import ROW_WIDTH_MAX
from pacos.models.blocks import norm, project
from pacos.models.hf_config import Config, Metadata, positive
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mamba import CONTEXT
from pacos.models.registry import architecture
from pacos.models.tensor_names import Names, TensorName, in_layers, outside, reshaped

_FASTEST = -0.606531  # the logarithm of the strongest decay
_HEAD_NORM_EPS = 64e-5
_L2_EPS = 1e-12
MIXED = "rwkvag"  # receptance, decay, key, value, rate, gate: the order of the fused tensor
# Inner widths that configs may leave out: a power of the width and a factor.
_RANKS = {
    "decay": ("decay", 0.5, 1.8),
    "iclr": ("a", 0.5, 1.8),
    "value_residual_mix": ("v", 0.5, 1.3),
    "gate": ("gate", 0.8, 0.6),
}
_MIXER = "layers.{i}.attn"
ROW, STACKED = (
    reshaped("row", lambda shape, _: (math.prod(shape),)),
    reshaped("stacked", lambda shape, _: (1, 1, shape[-1])),
)


def _read(config: Config) -> Metadata:
    width = int(positive(config, "hidden_size"))
    ranks = {
        f"attention.{name}_lora_rank": config.get(f"{hf}_low_rank_dim")
        or max(1, round(width**power * factor / 32)) * 32
        for name, (hf, power, factor) in _RANKS.items()
    }
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": config.get("intermediate_size") or 4 * width,
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": config.get("norm_eps"),
        "wkv.head_size": config.get("head_dim"),
        **ranks,
        "vocab_size": config.get("vocab_size"),
    }


def _narrow_names(name: str, at: str = _MIXER, to: str = "blk.{i}", source: str = "") -> Names:
    lora = f"{at}.{source or name}_lora.lora"
    parts = {"1": "0.weight", "2": "2.weight", "0": "2.bias"}
    return tuple(TensorName(f"{to}.time_mix_{name}{part}.weight", f"{lora}.{hf}") for part, hf in parts.items())


RWKV7 = HuggingFace(
    classes=("RWKV7ForCausalLM", "Rwkv7ForCausalLM"),
    names=(
        *outside(token_embd="embeddings", output_norm="norm", output="lm_head"),
        *(TensorName(f"token_embd_norm.{kind}", f"layers.0.pre_norm.{kind}") for kind in ("weight", "bias")),
        *in_layers(attn_norm="attn_norm", attn_norm_2="ffn_norm"),
        *(
            TensorName("blk.{i}.time_mix_lerp_fused.weight", f"{_MIXER}.x_{name}", (STACKED,), place=place)
            for place, name in enumerate(MIXED)
        ),
        *(TensorName(f"blk.{{i}}.time_mix_{one}.weight", f"{_MIXER}.{one}", (ROW,)) for one in ("k_k", "k_a", "r_k")),
        *(one for name in "wavg" for one in _narrow_names(name)),
        *_narrow_names("v", "layers.0.attn", "blk.0", source="a"),  # which nobody reads, but llama.cpp asks for
        *in_layers(_MIXER, time_mix_receptance="r_proj", time_mix_key="k_proj", time_mix_value="v_proj"),
        *in_layers(_MIXER, time_mix_output="o_proj", time_mix_ln="g_norm"),
        TensorName("blk.{i}.channel_mix_lerp_k.weight", "layers.{i}.ffn.x_k", (ROW,)),
        *in_layers("layers.{i}.ffn", channel_mix_key="key", channel_mix_value="value"),
    ),
    metadata=_read,
    defaults={"norm_eps": 1e-5, "head_dim": 64, "tie_word_embeddings": False},
    activations=("sqrelu",),
    needless=r"layers\.0\.attn\.v_lora",
)


@architecture("rwkv7", hf=RWKV7, rope="", recurrent=True)
def rwkv7(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = norm(ops.embed(inputs.tokens, weights["token_embd"]), weights, "token_embd_norm", hp)  # [T, D]
    first: Tensor | None = None
    for i in range(hp.layers):
        w = weights.block(i)
        mixed, first = time_mix(norm(x, w, "attn_norm", hp), first, inputs, w, hp, heads_normed)
        x = x + mixed
        h = norm(x, w, "attn_norm_2", hp)
        h = ops.lerp(h, ops.token_before(h, state=inputs.state()), w["channel_mix_lerp_k"])
        x = x + project(ops.relu_squared(project(h, w, "channel_mix_key")), w, "channel_mix_value")
    x = norm(ops.take(x, inputs.outputs), weights, "output_norm", hp)  # [R, D]
    return project(x, weights, "output")


def _narrow(x: Tensor, w: WeightTable, name: str) -> Tensor:
    """A projection through few dimensions, without what may stand between. Shapes: [T, D] -> [T, D]."""
    return project(project(x, w, f"time_mix_{name}1"), w, f"time_mix_{name}2")


def heads_normed(y: Tensor, w: WeightTable, width: int) -> Tensor:
    """A layer norm on each head, of that width, of what the state gave. Shapes: [T, D] -> [T, D]."""
    y = ops.layer_norm(ops.heads(y, width=width), w["time_mix_ln"], w["time_mix_ln.bias"], eps=_HEAD_NORM_EPS)
    flat: Tensor = ops.flat(y)
    return flat


def time_mix(
    x: Tensor,
    first: Tensor | None,
    inputs: Inputs,
    w: WeightTable,
    hp: Hparams,
    normed: Callable[[Tensor, WeightTable, int], Tensor],
) -> tuple[Tensor, Tensor]:
    """The layer's part that sees all tokens before, and the first layer's values, which all layers share."""
    N = hp.keys.integer("wkv.head_size", 1, ROW_WIDTH_MAX)
    before = ops.token_before(x, state=inputs.state())
    gated = "time_mix_g1" in w
    mixed = [ops.lerp(x, before, w["time_mix_lerp_fused"], row=row) for row in range(5 + gated)]
    r, d, k, v, a = mixed[:5]
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
    y = normed(y, w, N) + ops.head_bonus(r, k, v, w["time_mix_r_k"])
    if gated:
        y = y * project(ops.sigmoid(project(mixed[5], w, "time_mix_g1")), w, "time_mix_g2")
    return project(y, w, "time_mix_output"), (value if first is None else first)
