"""QRWKV 6: Qwen 2.5 whose attention is a mixer like RWKV 6's, with fewer heads of keys, and without a norm.

Source: llama.cpp's reading of the published folders; tensor names as in GGUF arch "rwkv6qwen2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H heads, K key heads, N head width.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.ir.ops.recurrent import ROW_WIDTH_MAX
from pacos.lazy import np
from pacos.models.blocks import logits, project, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, needed
from pacos.models.hf_experts import FLAT
from pacos.models.hparams import HEADS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mamba import CONTEXT
from pacos.models.registry import architecture
from pacos.models.rwkv6 import MIXED, decays, mixtures
from pacos.models.tensor_names import ENDS, GATED, TRANSPOSE, TWO_NORMS, Array, Change, TensorName, in_layers

_AT = "layers.{i}.self_attn"
_FOLDER_MIXED = "rkvwg"  # the order in which folders have the narrow parts
_WIDE = 4096  # from which on published models have wider inner parts


def _reordered(x: Array, _: Config) -> Array:
    """Five parts along the first axis, in files' order instead of folders'."""
    parts = x.reshape(len(MIXED), -1, x.shape[-1])
    return np.stack([parts[_FOLDER_MIXED.index(one)] for one in MIXED]).reshape(x.shape)


_ORDER = Change("reordered", lambda shape, _: shape, _reordered)


def _mix(name: str, hf: str, *changes: Change, place: int | None = None) -> TensorName:
    return TensorName(f"blk.{{i}}.time_mix_{name}.weight", f"{_AT}.{hf}", changes, place=place)


def _read(config: Config) -> Metadata:
    width, heads = needed(config, "hidden_size"), needed(config, "num_attention_heads")
    wide = width >= _WIDE
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": config.get("intermediate_size"),
        "attention.head_count": 0,
        "attention.head_count_kv": config.get("num_key_value_heads"),
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps"),
        "wkv.head_size": width // heads,
        "time_mix_extra_dim": config.get("lora_rank_tokenshift") or (64 if wide else 32),
        "time_decay_extra_dim": config.get("lora_rank_decay") or (128 if wide else 64),
        "token_shift_count": 1,
        "vocab_size": config.get("vocab_size"),
    }


RWKV6QWEN2 = HuggingFace(
    classes=("RWKV6Qwen2ForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *GATED),
        *(_mix("lerp_fused", f"time_maa_{name}", place=place) for place, name in enumerate(MIXED)),
        _mix("lerp_x", "time_maa_x", FLAT),
        *(_mix("w1", "time_maa_w1", TRANSPOSE, _ORDER), _mix("w2", "time_maa_w2", _ORDER, TRANSPOSE)),
        *(_mix(f"decay_{name}", f"time_decay_{name}", TRANSPOSE) for name in ("w1", "w2")),
        _mix("decay", "time_decay", FLAT),
        *in_layers(_AT, time_mix_receptance="q_proj", time_mix_key="k_proj", time_mix_value="v_proj"),
        *in_layers(_AT, time_mix_gate="gate", time_mix_output="o_proj"),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-6},
)


@architecture("rwkv6qwen2", hf=RWKV6QWEN2, rope="", recurrent=True)
def rwkv6qwen2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        x = x + _time_mix(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), inputs, w, hp)
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)


def _time_mix(x: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams) -> Tensor:
    """The layer's part that sees all tokens before: what fades slowly takes in little. Shapes: [T, D] -> [T, D]."""
    N = hp.keys.integer("wkv.head_size", 1, ROW_WIDTH_MAX)
    mixed = mixtures(x, ops.token_before(x, state=inputs.state()), w)
    r = ops.heads(project(mixed["r"], w, "time_mix_receptance"), width=N)  # [T, H, N]
    k, v = (project(mixed[one], w, f"time_mix_{name}") for one, name in (("k", "key"), ("v", "value")))
    share = int(r.shape[1]) * N // max(1, int(k.shape[1]))
    k, v = (_shared(ops.heads(part, width=N), min(share, HEADS_MAX), N) for part in (k, v))
    fading = ops.heads(decays(mixed["w"], w), width=N)
    k = k + ops.scale(k * ops.exp(fading), factor=-1.0)
    nothing = ops.scale(k, factor=0.0)
    y = ops.wkv7(ops.scale(r, factor=N**-0.5), fading, k, v, nothing, nothing, state=inputs.state())
    return project(y * ops.sigmoid(project(mixed["g"], w, "time_mix_gate")), w, "time_mix_output")


def _shared(x: Tensor, share: int, width: int) -> Tensor:
    """Each head so many times, one behind the other. Shapes: [T, K, N] -> [T, K * share, N]."""
    row = x
    for _ in range(share - 1):
        row = ops.join(row, x)
    y: Tensor = ops.heads(ops.flat(row), width=width)
    return y
