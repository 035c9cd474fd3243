"""Configs of published models are read as transformers and llama.cpp's converter read them (see scripts/configs).

What a config leaves out is what its class says, also where the class computes it; a size that is missing is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from models import published

from pacos.errors import PacosError
from pacos.models.hf_config import refuse_gaps, refuse_lost_factors
from pacos.models.registry import model_for_class

DEFAULTS: dict[str, dict[str, Any]] = json.loads(published.DEFAULTS.read_text())
READ: dict[str, dict[str, Any]] = json.loads(published.READ.read_text())
# A folder that lacks one of these is incomplete: opening it says which.
SIZES = {
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "d_model", "d_ff"),
    *("max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "n_layers", "n_heads", "max_seq_len"),
    *("num_layers", "num_heads"),
}
# Classes that say of layers, when told nothing, what no published model does.
ODD = {"KimiLinearForCausalLM", "Lfm2MoeForCausalLM", "Mistral3ForConditionalGeneration", "NemotronHForCausalLM"}
# What neither changes the computation nor is read by anybody, or stands in our files alone (see test_metadata.py).
IDLE = {
    *("vocab_size", "general.file_type", "general.type", "general.quantization_version"),
    *("tokenizer.ggml.add_bos_token", "classifier.output_labels"),
}
OURS = {
    *("attention.sliding_window", "attention.sliding_window_pattern", "attention.scale", "attention.chunk_size"),
    *("attention.no_rope_layer_step", "attention.temperature_length", "attention.temperature_scale"),
    *("attention.use_qk_norm", "rope.scaling.yarn_truncate", "rope.dimension_count", "rope.freq_base", "hidden_act"),
    *("attention.layer_norm_rms_epsilon", "expert_weights_norm", "rope.scaling.attn_factor", "expert_group_count"),
    *("rope.scaling.original_context_length", "expert_weights_scale", "expert_gating_func", "logit_scale"),
    *("embedding_scale", "residual_scale"),
}
_GUESSES = ("block_count", "nextn_predict_layers")  # it keeps layers that guess tokens
_STRETCHED = ("rope.scaling.factor", "rope.scaling.original_context_length")  # of what is another rotary base
_NOT_TURNED = ("rope.dimension_count", "rope.freq_base")
# Where the converter's reading differs, and why.
DIFFERENT: dict[str, tuple[str, ...]] = {
    "tiiuae/falcon-7b": ("attention.head_count_kv",),  # one, as the config's multi_query says
    "tiiuae/falcon-11B": ("context_length",),  # it writes 2048 for all
    "stabilityai/stablelm-3b-4e1t": ("use_parallel_residual",),  # its default, which no tensor bears out
    "stabilityai/stablelm-zephyr-3b": ("use_parallel_residual",),
    "Qwen/Qwen-7B": ("context_length",),  # what was trained; beyond it other rotary bases are needed
    "Qwen/Qwen3.5-9B": (*_GUESSES, "attention.recurrent_layers"),
    "Qwen/Qwen3.5-35B-A3B": (*_GUESSES, "attention.recurrent_layers"),
    "zai-org/GLM-4.5-Air": _GUESSES,
    **dict.fromkeys(("zai-org/GLM-4.6", "LGAI-EXAONE/K-EXAONE-236B-A23B", "tencent/Hy3"), _GUESSES),
    "pfnet/plamo-13b": ("context_length",),  # it writes 4096 for all
    "pfnet/plamo-2-1b": ("attention.head_count",),  # one number; layers without attention have no key heads
    "microsoft/Phi-3.5-MoE-instruct": (
        "attention.sliding_window",
        "rope.scaling.attn_factor",
    ),  # the config's
    "google/gemma-3-4b-it": ("rope.freq_base_swa",),  # what its readers take for granted
    "google/gemma-3-27b-it": ("rope.freq_base_swa",),
    # Layers with windows are not stretched; and the factor stands alone in the config, beside YaRN's own in a file.
    "allenai/Olmo-3-7B-Instruct": ("rope.freq_base_swa", "rope.scaling.yarn_attn_factor"),
    **dict.fromkeys(("JetBrains/Mellum2-12B-A2.5B-Base", "poolside/Laguna-S-2.1"), ("rope.scaling.yarn_attn_factor",)),
    # It looks for the words of the older folders.
    "zai-org/glm-4-9b-chat-hf": ("context_length", "attention.layer_norm_rms_epsilon", "rope.freq_base"),
    "google-t5/t5-small": ("decoder_block_count",),  # as many as the encoder has, which is what readers assume
    "moonshotai/Kimi-Linear-48B-A3B-Instruct": (
        "attention.value_length",
        "rope.freq_base",
    ),  # of latent rows
    "tencent/Hunyuan-7B-Instruct": _STRETCHED,
    "tencent/Hunyuan-0.5B-Instruct": _STRETCHED,
    "tencent/Hunyuan-A13B-Instruct": _STRETCHED,
    # It describes recurrent layers that the model has not.
    "ibm-granite/granite-4.0-micro": tuple(
        f"ssm.{key}" for key in ("conv_kernel", "group_count", "inner_size", "state_size", "time_step_rank")
    ),
    "nvidia/Nemotron-H-8B-Base-8K": ("rope.dimension_count",),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": _NOT_TURNED,
    "RWKV/v6-Finch-1B6-HF": ("rescale_every_n_layers",),  # rows are 32-bit floats, so weights stay as they are
    "keyfan/grok-1-hf": ("router_logit_softcapping",),  # which Grok-1 has not, and nobody reads
    "deepseek-ai/DeepSeek-V3.2-Exp": _GUESSES,
    "openbmb/MiniCPM4-0.5B": ("rope.scaling.type",),  # its factors are there
}
# Where transformers' does: what it has no word for, and that it calls every T5 tied, and the part for text of some
# models that see (of which the weights tell).
REFILLED = {
    **{name: {"tied"} for name in ("Qwen/Qwen3-VL-30B-A3B-Instruct", "PaddlePaddle/PaddleOCR-VL")},
    "nomic-ai/nomic-embed-text-v1.5": {"context_length"},
    **{name: {"tied"} for name in ("google/flan-t5-base", "google/mt5-small", "google/umt5-small")},
}


def meaning(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without the architecture's prefix, in one form, gaps filled as reading a file does."""
    prefix = f"{metadata['general.architecture']}."
    found = {key.removeprefix(prefix): value for key, value in metadata.items()}
    layers, heads, width = (found.get(key) for key in ("block_count", "attention.head_count", "embedding_length"))
    if isinstance(every := found.get("attention.sliding_window_pattern"), int):
        found["attention.sliding_window_pattern"] = [i % every < every - 1 for i in range(layers or 0)]
    if isinstance(heads, int) and heads and isinstance(width, int):
        gaps = {"attention.key_length": width // heads, "attention.value_length": width // heads}
        found = {**gaps, "attention.head_count_kv": heads, **found}
    for key, value in found.items():
        if isinstance(value, list) and len(set(map(str, value))) == 1:
            found[key] = value[0]
    return {key: value for key, value in found.items() if key not in IDLE and value not in (0, None, "none")}


def ours(config: published.Config, name: str = "") -> dict[str, Any]:
    name = name or published.class_of(config)
    entry, form = model_for_class(name, config)
    metadata = form.metadata_of(entry.name, config)
    vectors = form.vectors(form.filled(config))
    refuse_lost_factors(entry.name, form.filled(config), vectors)
    factors = {key: [len(one), one[0], one[-1]] for key, one in vectors.items()}
    return meaning({**metadata, **factors, "general.architecture": entry.name}) | {"tied": form.is_tied(config)}


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return None not in (one, other) and math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if not is_same(one.get(key), other.get(key))}


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - ODD))
def test_what_a_config_leaves_out_is_what_its_class_says(name: str) -> None:
    full = DEFAULTS[name]
    expected = ours(full, name)
    sizes = {key: value for key, value in full.items() if key in SIZES | {"model_type"}}
    assert not differing(ours(sizes, name), expected)
    for left_out in full.keys() - {"model_type"}:
        rest = {key: value for key, value in full.items() if key != left_out}
        said = refusal(rest, name)
        if said:
            assert left_out in SIZES and left_out in said, (left_out, said)
        else:
            assert not differing(ours(rest, name), expected), left_out


def refusal(config: published.Config, name: str) -> str:
    """What opening such a folder says; nothing where it opens."""
    entry, form = model_for_class(name, config)
    try:
        metadata = form.metadata_of(entry.name, config)
        form.vectors(form.filled(config))
        refuse_gaps(entry.name, metadata)
    except (PacosError, KeyError) as error:  # which opening makes one of the other
        return f"{error} ({getattr(error, 'hint', '')})"
    return ""


def test_configs_and_readings_belong_together() -> None:
    assert list(READ) == list(published.CONFIGS)
    assert DIFFERENT.keys() <= READ.keys()


@pytest.mark.parametrize("name", [name for name, read in READ.items() if isinstance(read["transformers"], dict)])
def test_published_configs_are_read_as_transformers_fills_them(name: str) -> None:
    """Also in its newest form, in which fine-tunes of today are saved."""
    given = published.CONFIGS[name]
    changes = dict(READ[name]["transformers"])
    gone = set(changes.pop("-"))
    text = {**given, **given.get("text_config", {})}
    text = {key: value for key, value in text.items() if key not in gone | {"text_config"}}
    saved = {**text, **changes, "architectures": given.get("architectures")}
    assert differing(ours(saved, published.class_of(given)), ours(given)) == REFILLED.get(name, set())


@pytest.mark.parametrize("name", [name for name, read in READ.items() if isinstance(read["llama.cpp"], dict)])
def test_published_configs_are_read_as_llama_cpp_reads_them(name: str) -> None:
    expected, found = meaning(READ[name]["llama.cpp"]), ours(published.CONFIGS[name])
    assert found.pop("tied") is not None
    different = set(DIFFERENT.get(name, ()))
    other = {key for key in differing(found, expected) if key in expected or key not in OURS}
    assert other == different, {key: (found.get(key), expected.get(key)) for key in other ^ different}
