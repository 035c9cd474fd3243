"""RWKV 6: tokens mixed with their predecessors as they themselves say, a state that fades at a pace of their own.

Source: arXiv:2404.05892; folders as the class that RWKV publishes with them has them; tensor names as in GGUF arch
"rwkv6".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, N head width, L narrow width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.recurrent import ROW_WIDTH_MAX
from pacos.models.blocks import norm, project
from pacos.models.hf_config import Config, Metadata, positive
from pacos.models.hf_experts import FLAT
from pacos.models.hparams import LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mamba import CONTEXT
from pacos.models.registry import architecture
from pacos.models.tensor_names import TRANSPOSE, Change, TensorName, in_layers, layer_pair, outside

_HEAD_NORM_EPS = 64e-5
_WIDE = 4096  # from which on published models have wider inner parts
MIXED = "wkvrg"  # decay, key, value, receptance, gate: the order of the fused tensors
_LAYER, _MIXER, _UNIT = "blocks.{i}", "blocks.{i}.attention", "blocks.{i}.feed_forward"


def _mix(name: str, hf: str, *changes: Change, place: int | None = None) -> TensorName:
    return TensorName(f"blk.{{i}}.time_mix_{name}.weight", f"{_MIXER}.{hf}", changes, place=place)


def _read(config: Config) -> Metadata:
    width = int(positive(config, "hidden_size"))
    wide = width == _WIDE
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": config.get("intermediate_size") or int(width * 3.5) // 32 * 32,
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": config.get("layer_norm_epsilon"),
        "rescale_every_n_layers": 0,  # folders hold weights as they are, and rows are 32-bit floats
        "wkv.head_size": config.get("head_size"),
        "time_mix_extra_dim": config.get("time_mix_extra_dim") or (64 if wide else 32),
        "time_decay_extra_dim": config.get("time_decay_extra_dim") or (128 if wide else 64),
        "vocab_size": config.get("vocab_size"),
    }


RWKV6 = HuggingFace(
    classes=("Rwkv6ForCausalLM",),
    names=(
        *outside(token_embd="embeddings", output_norm="ln_out", output="head"),
        *(TensorName(f"token_embd_norm.{kind}", f"blocks.0.pre_ln.{kind}") for kind in ("weight", "bias")),
        *in_layers(_LAYER, attn_norm="ln1", attn_norm_2="ln2"),
        *(_mix("lerp_fused", f"time_maa_{name}", place=place) for place, name in enumerate(MIXED)),
        *(
            _mix("lerp_x", "time_maa_x", FLAT),
            _mix("w1", "time_maa_w1", TRANSPOSE),
            _mix("w2", "time_maa_w2", TRANSPOSE),
        ),
        *(_mix(f"decay_{name}", f"time_decay_{name}", TRANSPOSE) for name in ("w1", "w2")),
        *(_mix("decay", "time_decay", FLAT), _mix("first", "time_faaaa")),
        *layer_pair("time_mix_ln", "ln_x", at=_MIXER),
        *in_layers(_MIXER, **{f"time_mix_{one}": one for one in ("receptance", "key", "value", "gate", "output")}),
        *(
            TensorName(f"blk.{{i}}.channel_mix_lerp_{name}.weight", f"{_UNIT}.time_maa_{name}", (FLAT,))
            for name in ("k", "r")
        ),
        *in_layers(_UNIT, **{f"channel_mix_{one}": one for one in ("receptance", "key", "value")}),
    ),
    metadata=_read,
    defaults={"layer_norm_epsilon": 1e-5, "head_size": 64, "tie_word_embeddings": False},
    prefixes=("rwkv.", "model."),
)


@architecture("rwkv6", hf=RWKV6, rope="", recurrent=True)
def rwkv6(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    halved = hp.keys.integer("rescale_every_n_layers", 0, LAYERS_MAX, 0)  # keeps rows within 16-bit floats
    x = norm(ops.embed(inputs.tokens, weights["token_embd"]), weights, "token_embd_norm", hp)  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + _time_mix(norm(x, w, "attn_norm", hp), inputs, w, hp)
        h = norm(x, w, "attn_norm_2", hp)
        before = ops.token_before(h, state=inputs.state())
        k, r = (ops.lerp(h, before, w[f"channel_mix_lerp_{name}"]) for name in "kr")
        taken = ops.sigmoid(project(r, w, "channel_mix_receptance"))
        x = x + taken * project(ops.relu_squared(project(k, w, "channel_mix_key")), w, "channel_mix_value")
        if halved and (i + 1) % halved == 0:
            x = ops.scale(x, factor=0.5)
    x = norm(ops.take(x, inputs.outputs), weights, "output_norm", hp)  # [R, D]
    return project(x, weights, "output")


def _tanh(x: Tensor) -> Tensor:
    y: Tensor = ops.softcap(x, cap=1.0)
    return y


def mixtures(x: Tensor, before: Tensor, w: WeightTable) -> dict[str, Tensor]:
    """Five mixtures of each token and its predecessor; a share has a part of the token's own. Shapes: [T, D]."""
    narrow = _tanh(project(ops.lerp(x, before, w["time_mix_lerp_x"]), w, "time_mix_w1"))  # [T, 5 L]
    narrow = ops.heads(narrow, width=max(1, int(narrow.shape[1]) // len(MIXED)))  # [T, 5, L]
    own = ops.flat(ops.expert_linear(narrow, None, w["time_mix_w2"], None))  # [T, 5 D]
    change = before + ops.scale(x, factor=-1.0)
    D = int(x.shape[1])
    found = {}
    for row, name in enumerate(MIXED):
        fused = w.get("time_mix_lerp_fused")
        share, row_there = (w[f"time_mix_lerp_{name}"], 0) if fused is None else (fused, row)
        mixed = ops.lerp(x, before, share, row=row_there)
        found[name] = mixed + change * ops.columns(own, start=row * D, stop=(row + 1) * D)
    return found


def decays(x: Tensor, w: WeightTable) -> Tensor:
    """How fast the state fades at each token, as a logarithm. Shapes: [T, D] -> [T, D]."""
    d = project(_tanh(project(x, w, "time_mix_decay_w1")), w, "time_mix_decay_w2") + w["time_mix_decay"]
    y: Tensor = ops.scale(ops.exp(d), factor=-1.0)
    return y


def _time_mix(x: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams) -> Tensor:
    """The layer's part that sees all tokens before. Shapes: [T, D] -> [T, D]."""
    N = hp.keys.integer("wkv.head_size", 1, ROW_WIDTH_MAX)
    mixed = mixtures(x, ops.token_before(x, state=inputs.state()), w)
    names = {"r": "receptance", "k": "key", "v": "value"}
    r, k, v = (ops.heads(project(mixed[one], w, f"time_mix_{name}"), width=N) for one, name in names.items())
    y = ops.wkv6(r, k, v, ops.heads(decays(mixed["w"], w), width=N), w["time_mix_first"], state=inputs.state())
    y = ops.layer_norm(ops.heads(y, width=N), w["time_mix_ln"], w["time_mix_ln.bias"], eps=_HEAD_NORM_EPS)
    y = ops.flat(y) * ops.silu(project(mixed["g"], w, "time_mix_gate"))
    return project(y, w, "time_mix_output")
