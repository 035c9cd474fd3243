"""`convert` writes what llama.cpp's converter does (see scripts/metadata), key by key, but for what is named here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from models import summary, tiny

from pacos.hub.convert import convert

STORED = json.loads((Path(__file__).parent / "metadata.json").read_text())
KL_MAX = 1e-6
# What its files leave to those who know the family; said outright, nobody reads it otherwise.
SAID_OUTRIGHT = {
    *("vocab_size", "rope.dimension_count", "rope.freq_base", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "expert_weights_norm", "expert_feed_forward_length", "expert_gating_func"),
    *("tokenizer.ggml.merges", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "attention.causal"),
}
# What the model computes and llama.cpp does not, or always in one way: its files have no key for it.
COMPUTED = {
    *("attention.sliding_window", "attention.sliding_window_pattern", "attention.scale", "attention.chunk_size"),
    *("attention.no_rope_layer_step", "attention.temperature_length", "attention.temperature_scale"),
    *("embedding_scale", "residual_scale"),
    *("attention.use_qk_norm", "rope.scaling.yarn_truncate", "logit_scale", "hidden_activation", "hidden_act"),
}
_NO_LAYER = "it describes recurrent layers that the model has not"
_FOUR_TIMES = "it writes four times the width, whatever the config says"
_OTHER_VOCABULARY = "it takes Llama's vocabulary for granted"
_CHOSEN = "it leaves the choice of rotary factors to the context that was trained"
DIFFERENT: dict[str, dict[str, str]] = {
    "minicpm3": dict.fromkeys(("rope.scaling.original_context_length", "rope.scaling.attn_factor"), _CHOSEN),
    "bert-classifier": {"tensors": "it leaves out the dense layer before the classifier, which transformers computes"},
    "chatglm": {"context_length": "it reads the width for the length of older configs"},
    "codeshell": {"feed_forward_length": _FOUR_TIMES},
    "ernie4_5-moe": {"expert_shared_feed_forward_length": "it writes the width of one of the shared experts"},
    "gemma3n-plain": {"feed_forward_length": "one number says that for all layers"},
    "gpt2": {"feed_forward_length": _FOUR_TIMES},
    "granite4": {
        **{f"ssm.{key}": _NO_LAYER for key in ("conv_kernel", "group_count", "inner_size", "state_size")},
        **{"ssm.time_step_rank": _NO_LAYER, "attention.head_count_kv": "one number says that for all layers"},
    },
    "grok": {"router_logit_softcapping": "Grok-1 has no cap there, and nobody reads it"},
    "grok-2": {"attention.layer_norm_epsilon": "transformers knows another model by the kind that the config names"},
    **{name: {"file_type": "it writes none"} for name in ("gptneox", "gptneox-20b", "gptneox-serial", "mpt")},
    "mistral4": {"tensors": "it keeps gates and ups of experts in one tensor, as newer folders do"},
    "nemotron-h": dict.fromkeys(("rope.dimension_count", "rope.scaling.finetuned"), "nothing turns"),
    "openelm": dict.fromkeys(("model", "pre", "token_type", "tokens", "scores"), _OTHER_VOCABULARY)
    | dict.fromkeys(("bos_token_id", "eos_token_id", "unknown_token_id", "add_bos_token"), _OTHER_VOCABULARY),
    "phi2": {"feed_forward_length": _FOUR_TIMES},
    "phimoe-long": {"rope.scaling.attn_factor": "it computes one of the contexts; the config has its own"},
    "plamo2": {"attention.head_count": "one number; layers without attention have no key heads"},
    "rwkv6": {"rescale_every_n_layers": "rows are 32-bit floats here, so weights stay as the folder has them"},
    "starcoder-heads": {"attention.head_count_kv": "it writes 1 for all StarCoders"},
    "nomic-bert-moe-bias": {"tensors": "it leaves out the bias behind experts"},
    "xverse": dict.fromkeys(("model", "pre"), _OTHER_VOCABULARY),
}
DIFFERENT["granite4-experts"] = DIFFERENT["granite4"]
_KNOWS_OTHERS = "it has no names for some of the tensors"
# Cases that the converter refuses, or of which it makes a file that no longer says what the folder does, and why.
REFUSED = {
    **dict.fromkeys(("baichuan-7b", "baichuan-13b"), "it asks itself for the sizes without end"),
    **dict.fromkeys(("bitnet", "bitnet-silu"), "it knows 1bitLLM's names of norms alone"),
    **dict.fromkeys(("falcon-rw", "phi2-norms", "umt5"), _KNOWS_OTHERS),
    "gptj": "it lacks the class",
    "hunyuan-dense": "it takes one published factor of the rotary base for granted",
    "mamba2-published": "it takes heads of width 64 for granted",
    "minimax-01": "it knows the class by its older name alone",
    "plamo": "it takes the sizes of the 13B model for granted",
    "stablelm-parallel": "it takes other numbers of heads for granted",
}
# Cases with windows, chunks, scales, heads or norms of each head that its files do not hold (see above): they compute
# something else.
LOST = {
    *("chameleon", "chameleon-behind"),
    *("gemma2", "gemma3", "gemma3-plain", "llama4", "mistral", "phimoe-long", "qwen2-window", "starcoder-heads"),
    *("gemma3n", "mistral4", "starcoder2"),
}


def plain(key: str, architecture: str) -> str:
    """The key as the tables above name it."""
    for prefix in (f"{architecture}.", "tokenizer.ggml.", "general."):
        key = key.removeprefix(prefix)
    return key


def is_same(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-6)
    return bool(expected == found)


def test_what_is_stored_is_of_cases() -> None:
    assert set(STORED) <= {*tiny.CASES, *tiny.ENCODERS}
    assert {case for case, found in STORED.items() if isinstance(found, str)} == REFUSED.keys()
    assert set(DIFFERENT) | LOST <= set(STORED) - REFUSED.keys()


@pytest.mark.parametrize("case", sorted(set(STORED) - REFUSED.keys()))
def test_converted_files_say_what_llama_cpp_writes(case: str, tmp_path: Path) -> None:
    convert(tiny.write_folder(case, tmp_path / "tiny"), tmp_path / "model.gguf", "F32")
    found, expected = summary.of_file(tmp_path / "model.gguf"), dict(STORED[case])
    divergence = expected.pop("kl", 0.0)
    assert (divergence > KL_MAX) == (case in LOST)
    assert expected.pop("general.name").lower() == found.pop("general.name").lower()
    architecture = found["general.architecture"]
    if "tokenizer.ggml.model" not in expected:  # the converter asks for files that the tests' tokenizer lacks
        found = {key: value for key, value in found.items() if not key.startswith("tokenizer.")}
    named = {key.removeprefix(f"{architecture}.") for key in found.keys() - expected.keys()}
    different = DIFFERENT.get(case, {})
    assert named - different.keys() - {f"general.{key}" for key in different} <= SAID_OUTRIGHT | COMPUTED
    other = {plain(key, architecture) for key, value in expected.items() if not is_same(value, found.get(key))}
    assert other == different.keys() & other, other
    assert different.keys() <= other | {plain(one, architecture) for one in named}
