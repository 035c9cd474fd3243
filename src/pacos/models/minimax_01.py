"""MiniMax-01 and M1: seven layers of lightning attention, whose states fade at paces of their own, to one of full
attention; experts after each; residuals begin behind the norms.

Source: Hugging Face modeling_minimax.py, arXiv:2501.08313; tensor names as in GGUF arch "minimax-01".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, N head width.
"""

from __future__ import annotations

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import attend, logits, project, rotated
from pacos.models.hf_config import Config, Metadata, decoder, first
from pacos.models.hf_experts import READS, expert_names, experts
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TWO_NORMS, in_layers

_EVERY = 8  # the last of so many layers has full attention, if the file says nothing
_NORM_EPS = 1e-6  # of the norm behind lightning attention, whatever the config says of the others
_PARTS = ("full_attn", "linear_attn", "mlp")
_OLDER = {"full_attn": "layernorm_full_attention", "linear_attn": "layernorm_linear_attention", "mlp": "layernorm_mlp"}


def _factor(config: Config, kind: str) -> float:
    """What all parts' residuals (alpha), or outputs (beta), are multiplied by. Errors: UnsupportedModel."""
    words = {part: (f"{part}_{kind}_factor", f"{_OLDER[part]}_{kind}") for part in _PARTS}
    found = {float(first(config, *one) or 1.0) for one in words.values()}
    if len(found) > 1:
        raise UnsupportedModel(f"config.json: {' and '.join(one[0] for one in words.values())} differ")
    return found.pop()


def _read(config: Config) -> Metadata:
    layers = min(config["num_hidden_layers"], LAYERS_MAX)
    fades = [kind in (0, "linear_attention") for kind in first(config, "attn_type_list", "layer_types") or ()]
    fades = fades or [i % 2 == 1 for i in range(layers)]  # as transformers' class has it
    if (scale := _factor(config, "beta")) != 1:
        raise UnsupportedModel(f"config.json: outputs are multiplied by {scale:g}, supported is 1 alone")
    usual = [(i + 1) % _EVERY != 0 for i in range(layers)]
    return {
        **decoder(config),
        **experts(config),
        "residual_scale": _factor(config, "alpha"),
        "rope.dimension_count": config.get("rotary_dim") or decoder(config)["rope.dimension_count"],
        "attention.recurrent_layers": None if fades == usual else fades,
    }


MINIMAX_01 = HuggingFace(
    classes=("MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxForCausalLM"),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION),
        *in_layers(attn_qkv="self_attn.qkv_proj", attn_gate="self_attn.output_gate"),
        *in_layers(attn_norm_2="self_attn.norm", attn_output="self_attn.out_proj"),
        *expert_names("block_sparse_moe", gate="w1", up="w3", down="w2"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2},
        "rope_theta": 1000000.0,
    },
    reads=READS,
    needless=r"\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$",
    refuses=(("postnorm", True), ("shared_intermediate_size", 0)),
)


@architecture("minimax-01", hf=MINIMAX_01, recurrent=True, defaults={"expert_weights_norm": True})
def minimax_01(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    residual, mixture = hp.keys.number("residual_scale", 0, 1e6, 1.0), hp.needed_experts()
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    paces: Tensor | None = None
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        if "attn_gate" in w or "attn_norm_2" in w:
            paces = _paces(h, hp) if paces is None else paces
            a = _lightning(h, paces, w, inputs, hp, i)
        else:
            a = attend(rotated(h, w, inputs, hp, i), w, inputs, hp, i)
        h = ops.rms_norm(ops.scale(h, factor=residual) + a, w["ffn_norm"], eps=hp.norm_eps)
        x = ops.scale(h, factor=residual) + expert_feed_forward(h, w, mixture)
    return logits(x, inputs, weights, hp)


def _paces(x: Tensor, hp: Hparams) -> Tensor:
    """How fast each head's state fades in the first layer, as a logarithm: by a factor from head to head.

    Shapes: [T, D] -> [T, H, N].
    """
    heads, ratio = hp.heads[0], 2.0 ** (-8 / hp.heads[0])
    ones = ops.exp(ops.scale(ops.columns(x, start=0, stop=1), factor=0.0))
    row = ops.heads(ones, width=1)  # [T, 1, 1]
    while int(row.shape[2]) < hp.head_width:
        row = ops.join(row, ops.part(row, start=0, stop=min(int(row.shape[2]), hp.head_width - int(row.shape[2]))))
    row = ops.scale(row, factor=-ratio)  # [T, 1, N], of one head
    while (known := int(row.shape[2]) // hp.head_width) < heads:
        wanted = min(known, heads - known) * hp.head_width
        row = ops.join(row, ops.scale(ops.part(row, start=0, stop=wanted), factor=ratio**known))
    paces: Tensor = ops.heads(ops.flat(row), width=hp.head_width)
    return paces


def _lightning(x: Tensor, paces: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int) -> Tensor:
    """Attention without softmax, over a state that fades the more slowly the later the layer. Shapes: [T, D]."""
    N = hp.head_width
    qkv = ops.heads(ops.silu(project(x, w, "attn_qkv")), width=3 * N)  # [T, H, 3 N]
    q, k, v = (ops.part(qkv, start=n * N, stop=(n + 1) * N) for n in range(3))
    slower = 1 - layer / (hp.layers - 1 + 1e-5) + 1e-5
    nothing = ops.scale(k, factor=0.0)
    y = ops.wkv7(q, ops.scale(paces, factor=slower), k, v, nothing, nothing, state=inputs.state())
    y = ops.rms_norm(y, w["attn_norm_2"], eps=_NORM_EPS)
    return project(ops.sigmoid(project(x, w, "attn_gate")) * y, w, "attn_output")
