"""Qwen3-Next: three layers of the gated delta rule to one of gated attention, experts after each.

Source: Hugging Face modeling_qwen3_next.py; tensor names as in GGUF arch "qwen3next".
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.delta_net import DEFAULTS, MIXER_NAMES, NAMES, delta_decoder, read_config
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName, in_layers, picked

Config = Mapping[str, Any]


def _by_key_heads(*wanted: int) -> Callable[[int, Config], Sequence[range]]:
    """Queries (0), keys (1), values (2) or gates (3) of all heads, from rows that have all four for each key head."""

    def ranges(rows: int, config: Config) -> Sequence[range]:
        heads, width = config["linear_num_key_heads"], config["linear_key_head_dim"]
        values = config["linear_num_value_heads"] // heads * config["linear_value_head_dim"]
        starts = (0, width, 2 * width, 2 * width + values, 2 * width + 2 * values)
        return [
            range(head * starts[4] + starts[part], head * starts[4] + starts[part + 1])
            for part in wanted
            for head in range(heads)
        ]

    return ranges


def _metadata(config: Config) -> Mapping[str, Any]:
    return read_config(config) | experts(config)


_FUSED = "layers.{i}.linear_attn.in_proj_qkvz.weight"
QWEN3_NEXT = HuggingFace(
    classes=("Qwen3NextForCausalLM",),
    names=(
        *NAMES,
        *MIXER_NAMES,
        *in_layers(ssm_ba="linear_attn.in_proj_ba", ssm_out="linear_attn.out_proj"),
        TensorName("blk.{i}.attn_qkv.weight", _FUSED, (picked("queries, keys, values", _by_key_heads(0, 1, 2)),)),
        TensorName("blk.{i}.attn_gate.weight", _FUSED, (picked("gates", _by_key_heads(3)),)),
        *expert_names(),
        *shared_names("mlp.shared_expert"),
    ),
    metadata=_metadata,
    defaults={
        **DEFAULTS,
        **{"num_experts": 512, "num_experts_per_tok": 10, "norm_topk_prob": True},
        "num_key_value_heads": 2,
        **{"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512},
        "intermediate_size": 5632,
    },
    reads=READS,
    needless=r"^mtp\.",
)


@architecture("qwen3next", hf=QWEN3_NEXT, recurrent=True, defaults={"expert_weights_norm": True})
def qwen3next(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return delta_decoder(inputs, weights, hp)
