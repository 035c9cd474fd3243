"""ARWKV: Qwen 2.5 whose attention is RWKV 7's mixer.

Source: arXiv:2501.15570; tensor names as in GGUF arch "arwkv7", folders as llama.cpp's converter reads them.
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, silu_feed_forward
from pacos.models.hf_config import Config, Metadata
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mamba import CONTEXT
from pacos.models.registry import architecture
from pacos.models.rwkv7 import MIXED, ROW, STACKED, heads_normed, time_mix
from pacos.models.tensor_names import ENDS, GATED, TRANSPOSE, TWO_NORMS, Names, TensorName, in_layers

_AT = "layers.{i}.self_attn.time_mixer"
_RANKS = {"decay": 64, "iclr": 64, "value_residual_mix": 32, "gate": 128}  # of every published one


def _read(config: Config) -> Metadata:
    ranks = {**_RANKS, "gate": _RANKS["gate"] if config["wkv_has_gate"] else 0}
    return {
        "block_count": config.get("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": config.get("hidden_size"),
        "feed_forward_length": config.get("intermediate_size"),
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps"),
        "wkv.head_size": config.get("head_size"),
        "token_shift_count": 1,
        **{f"attention.{name}_lora_rank": rank for name, rank in ranks.items()},
        "vocab_size": config.get("vocab_size"),
    }


def _narrow_names(name: str, at: str = _AT, to: str = "blk.{i}", source: str = "") -> Names:
    changes = {"0": (ROW,), "1": (TRANSPOSE,), "2": (TRANSPOSE,)}
    return tuple(
        TensorName(f"{to}.time_mix_{name}{part}.weight", f"{at}.{source or name}{part}", change)
        for part, change in changes.items()
    )


ARWKV7 = HuggingFace(
    classes=("RwkvHybridForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *GATED),
        *(
            TensorName("blk.{i}.time_mix_lerp_fused.weight", f"{_AT}.x_{name}", (STACKED,), place=place)
            for place, name in enumerate(MIXED)
        ),
        *(TensorName(f"blk.{{i}}.time_mix_{one}.weight", f"{_AT}.{one}", (ROW,)) for one in ("k_k", "k_a", "r_k")),
        *(one for name in "wavg" for one in _narrow_names(name)),
        # Which nobody reads, but llama.cpp asks for.
        *_narrow_names("v", "layers.0.self_attn.time_mixer", "blk.0", source="a"),
        *in_layers(_AT, time_mix_receptance="receptance", time_mix_key="key", time_mix_value="value"),
        *in_layers(_AT, time_mix_output="output", time_mix_ln="ln_x"),
    ),
    metadata=_read,
    defaults={"rms_norm_eps": 1e-6, "head_size": 64, "wkv_has_gate": True, "wkv_version": 7},
    refuses=(("wkv_version", 7),),
    needless=r"layers\.0\.self_attn\.time_mixer\.v[012]$",
)


def _as_it_is(y: Tensor, w: WeightTable, width: int) -> Tensor:
    """What the state gave, where the model has no norm on it. Shapes: [T, D] -> [T, D]."""
    return y


@architecture("arwkv7", hf=ARWKV7, rope="", recurrent=True)
def arwkv7(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    first: Tensor | None = None
    for i in range(hp.layers):
        w = weights.block(i)
        normed = heads_normed if "time_mix_ln" in w else _as_it_is
        mixed, first = time_mix(ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps), first, inputs, w, hp, normed)
        x = x + mixed
        x = x + silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
    return logits(x, inputs, weights, hp)
