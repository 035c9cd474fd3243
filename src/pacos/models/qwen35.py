"""Qwen3.5, text: Qwen3-Next's layers with one gated unit each or experts; value heads of a key head lie far apart.

Source: Hugging Face modeling_qwen3_5.py; tensor names as in GGUF arch "qwen35" and "qwen35moe". Of text, all three
positions that its rotary sections tell apart are the same.
Shapes: R rows wanted, V vocabulary, H value heads, K key heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.delta_net import DEFAULTS, MIXER_NAMES, NAMES, delta_decoder, read_config
from pacos.models.hf_config import position_sections
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import Change, changed, layer_pair, picked

Config = Mapping[str, Any]
_SECTIONS = (11, 11, 10)  # what the class fills in


def _far_apart(config: Config, width: int, start: int = 0) -> list[range]:
    """Rows of value heads, from neighbours sharing a key head to those K apart."""
    keys, heads = config["linear_num_key_heads"], config["linear_num_value_heads"]
    order = [key * (heads // keys) + place for place in range(heads // keys) for key in range(keys)]
    return [range(start + head * width, start + (head + 1) * width) for head in order]


def _value_rows(wide: bool) -> Callable[[int, Config], Sequence[range]]:
    return lambda rows, config: _far_apart(config, config["linear_value_head_dim"] if wide else 1)


def _after_keys(rows: int, config: Config) -> Sequence[range]:
    keys = 2 * config["linear_num_key_heads"] * config["linear_key_head_dim"]
    return [range(keys), *_far_apart(config, config["linear_value_head_dim"], keys)]


def _columns(x: Any, config: Config) -> Any:
    return np.concatenate([x[:, one.start : one.stop] for one in _value_rows(True)(0, config)], axis=1)


_HEADS, _WIDE_HEADS = picked("value heads", _value_rows(False)), picked("rows of value heads", _value_rows(True))
_VALUES = picked("values behind keys", _after_keys)
_OUT = Change("columns of value heads", lambda shape, _: shape, _columns)


def _metadata(config: Config) -> Mapping[str, Any]:
    return read_config(config) | position_sections(config, _SECTIONS)


QWEN35 = HuggingFace(
    classes=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
    names=(
        *NAMES,
        *changed(changed(changed(MIXER_NAMES, _VALUES, "conv1d.weight"), _HEADS, "A_log"), _HEADS, "dt_bias"),
        *layer_pair("attn_qkv", "linear_attn.in_proj_qkv", _VALUES),
        *layer_pair("attn_gate", "linear_attn.in_proj_z", _WIDE_HEADS),
        *layer_pair("ssm_beta", "linear_attn.in_proj_b", _HEADS),
        *layer_pair("ssm_alpha", "linear_attn.in_proj_a", _HEADS),
        *layer_pair("ssm_out", "linear_attn.out_proj", _OUT),
    ),
    metadata=_metadata,
    defaults={**DEFAULTS, "num_key_value_heads": 4},
    needless=r"^mtp\.",
)


QWEN35_MOE = replace(
    QWEN35,
    classes=("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
    names=(*QWEN35.names, *expert_names(), *shared_names("mlp.shared_expert")),
    metadata=lambda config: {**_metadata(config), **experts(config)},
    defaults={
        **{**DEFAULTS, "num_experts": 256, "num_experts_per_tok": 8, "norm_topk_prob": True, "num_key_value_heads": 2},
        **{"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512},
    },
    reads=READS,
)


@architecture("qwen35", hf=QWEN35, recurrent=True)
def qwen35(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return delta_decoder(inputs, weights, hp)


@architecture("qwen35moe", hf=QWEN35_MOE, recurrent=True, defaults={"expert_weights_norm": True})
def qwen35moe(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return delta_decoder(inputs, weights, hp)
