"""Hyper-parameters: every key's type and range, relations between keys, rotary settings."""

from __future__ import annotations

import math
from array import array
from typing import Any

import pytest

from pacos.errors import FormatError, PacosError, UnsupportedModel, UsageError
from pacos.models import Hparams, RopeOverrides, architectures, model_for, model_for_class
from pacos.models.experts import Experts
from pacos.types import TensorEntry

SIZES = ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "context_length")


def metadata(architecture: str = "llama", **changes: Any) -> dict[str, Any]:
    """A sound model of 4 layers; a change of None removes its key."""
    values: dict[str, Any] = {
        "block_count": 4,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "context_length": 512,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    found = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    return {"general.architecture": architecture, **found}


def embedding(rows: int = 100, width: int = 64) -> dict[str, TensorEntry]:
    return {"token_embd.weight": TensorEntry("token_embd.weight", (rows, width), "F32", 0, 0, 4 * rows * width)}


def read(architecture: str = "llama", overrides: RopeOverrides | None = None, **changes: Any) -> Hparams:
    return Hparams.from_metadata(metadata(architecture, **changes), embedding(), overrides)


def changed(key: str, value: Any) -> dict[str, Any]:
    return {key.replace(".", "__"): value}


def test_a_sound_model_is_read() -> None:
    hp = read()
    assert (hp.layers, hp.width, hp.vocab_size, hp.context_length, hp.head_width) == (4, 64, 100, 512, 16)
    assert (hp.heads, hp.key_heads, hp.hidden, hp.windows) == ((4,) * 4, (2,) * 4, (128,) * 4, (0,) * 4)
    assert hp.scale == 0.25
    assert hp.rope.width == 16
    assert hp.rope.style == "pairs"


@pytest.mark.parametrize("key", [*SIZES, "feed_forward_length"])
@pytest.mark.parametrize("value", [0, -1, 2**32 - 1, "4", 3.5, True, [4, 4, 4, 4, 4], ["4"] * 4])
def test_sizes_out_of_range_or_of_another_type_are_refused(key: str, value: Any) -> None:
    with pytest.raises(FormatError, match=key.replace(".", r"\.")):
        read(**changed(key, value))


@pytest.mark.parametrize(
    "key", [*SIZES[:3], "context_length", "feed_forward_length", "attention.layer_norm_rms_epsilon"]
)
def test_missing_keys_are_named(key: str) -> None:
    if key.endswith("epsilon"):
        with pytest.raises(FormatError, match="epsilon"):
            read(**changed(key, None))
    else:
        with pytest.raises(FormatError, match=f"llama.{key} is missing"):
            read(**changed(key, None))


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "attention.head_count", "feed_forward_length"])
def test_two_to_the_31_is_no_size(key: str) -> None:
    with pytest.raises(FormatError, match="needed"):
        read(**changed(key, 2**31))


def test_a_huge_context_is_clamped() -> None:
    assert read(context_length=2**31).context_length == 2**31 - 1


def test_a_context_ends_where_an_indexer_begins_to_pick() -> None:
    hp = read(attention__indexer__top_k=64)
    assert (hp.context_length, hp.picked) == (64, 64)
    hp = read(attention__indexer__top_k=1024)
    assert (hp.context_length, hp.picked) == (512, 1024)


@pytest.mark.parametrize(("layers", "sound"), [(1024, True), (1025, False)])
def test_layers_are_limited(layers: int, sound: bool) -> None:
    if sound:
        assert read(block_count=layers).layers == layers
    else:
        with pytest.raises(FormatError, match="block_count is 1025"):
            read(block_count=layers)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention__head_count_kv": 3},
        {"attention__head_count": 5, "attention__head_count_kv": 5},
        {"rope__dimension_count": 15},
        {"rope__dimension_count": 18},
        {"rope__dimension_count": 0},
        {"attention__head_count_kv": [2, 2, 2]},
        {"feed_forward_length": array("i", [128] * 5)},
        {"feed_forward_length": ["a", "b", "c", "d"]},
        {"attention__sliding_window": 8, "attention__sliding_window_pattern": [True]},
        {"attention__sliding_window": -1},
        {"attention__key_length": 0},
        {"rope__scaling__type": "magic"},
        {"rope__scaling__type": 7},
        {"expert_count": 0, "expert_used_count": 2},
        {"expert_count": 2, "expert_used_count": 3},
        {"expert_count": 10**6},
        {"expert_count": 4},
        {"expert_count": 4, "expert_used_count": 2, "expert_group_count": 3},
        {"expert_count": 4, "expert_used_count": 3, "expert_group_count": 4, "expert_group_used_count": 1},
        {"expert_count": 4, "expert_used_count": 2, "expert_gating_func": 9},
        {"nextn_predict_layers": 4},
    ],
)
def test_relations_that_do_not_hold_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        read(**changes)


@pytest.mark.parametrize(
    "key", ["rope.freq_base", "attention.layer_norm_rms_epsilon", "rope.scaling.factor", "attention.scale"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0, "1"])
def test_numbers_that_make_no_sense_are_refused(key: str, value: Any) -> None:
    with pytest.raises(FormatError, match="needed: a number"):
        read(rope__scaling__type="linear", **changed(key, value))


def test_experts_are_read_with_the_defaults_of_their_family() -> None:
    assert read(expert_count=8, expert_used_count=2).experts == Experts(8, 2, "softmax", True, 1.0, 1, 1, 1)
    more = {"expert_gating_func": 2, "expert_weights_norm": False, "expert_weights_scale": 2.5}
    groups = {"expert_group_count": 4, "expert_group_used_count": 2}
    expected = Experts(8, 2, "sigmoid", False, 2.5, 4, 2)
    assert read(expert_count=8, expert_used_count=2, **more, **groups).experts == expected
    assert read(expert_count=0).experts is None


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_softcaps_are_checked(value: float) -> None:
    with pytest.raises(FormatError, match="softcapping"):
        read("gemma2", attn_logit_softcapping=value)


def test_longrope_turns_as_its_tensors_say_and_keeps_the_files_magnitude() -> None:
    spec = read("phi3", rope__scaling__type="longrope", rope__scaling__attn_factor=1.25).rope
    assert (spec.scaling, spec.magnitude()) == ("none", 1.25)


@pytest.mark.parametrize("name", [None, "", [], 3, "../llama", "x" * 2**20, "lama"])
def test_unknown_architectures_are_refused_with_the_list(name: Any) -> None:
    with pytest.raises(PacosError, match=r"supported: .*bert.*gemma, gemma-embedding, gemma2") as caught:
        model_for(name)
    assert len(str(caught.value)) < 1500
    assert (name != "lama") or "nearest: llama" in str(caught.value)


def test_unknown_classes_are_refused_with_the_nearest() -> None:
    assert model_for_class("MistralForCausalLM")[0].name == "llama"
    with pytest.raises(UnsupportedModel, match=r"BertModel.* and \d+ others"):
        model_for_class("BartModel")


def test_the_scan_finds_every_family() -> None:
    names = [entry.name for entry in architectures()]
    assert names == sorted(names)
    assert {"bert", "gpt2", "jina-bert-v2", "llama", "mamba", "qwen3"} <= set(names)


def test_embedding_and_vocabulary_must_fit() -> None:
    tokens = {"tokenizer.ggml.tokens": ["x"] * 101}
    with pytest.raises(FormatError, match="100 rows, the vocabulary has 101 tokens"):
        Hparams.from_metadata(metadata() | tokens, embedding(100))
    assert Hparams.from_metadata(metadata() | tokens, embedding(128)).vocab_size == 128
    with pytest.raises(FormatError, match="vocabulary alone"):
        Hparams.from_metadata(metadata(), {})
    with pytest.raises(FormatError, match="vocabulary alone"):
        Hparams.from_metadata({"general.architecture": "llama"}, {})
    with pytest.raises(FormatError, match="needed"):
        Hparams.from_metadata(metadata(), embedding(100, 32))


def test_windows_follow_the_pattern() -> None:
    assert read(attention__sliding_window=8).windows == (8, 8, 8, 8)
    assert read("gemma2").windows == (4096, 0, 4096, 0)
    assert read("gemma3", attention__sliding_window=8).windows == (8, 8, 8, 8)
    assert read("gemma3", attention__sliding_window=8, attention__sliding_window_pattern=2).windows == (8, 0, 8, 0)
    pattern = [False, True, False, True]
    assert read("qwen2", attention__sliding_window=8, attention__sliding_window_pattern=pattern).windows == (0, 8, 0, 8)


def test_windowed_layers_of_gemma3_turn_by_their_own_base() -> None:
    hp = read(
        *("gemma3",),
        attention__sliding_window=8,
        attention__sliding_window_pattern=2,
        rope__scaling__type="linear",
        rope__scaling__factor=8.0,
    )
    assert (hp.rope_of(0).base, hp.rope_of(0).scaling) == (10000.0, "none")
    assert (hp.rope_of(1).base, hp.rope_of(1).scaling, hp.rope_of(1).factor) == (1e6, "linear", 8.0)


def test_rope_scaling_from_the_file() -> None:
    assert read().rope.scaling == "none"
    assert read(rope__scaling__type="none", rope__scaling__factor=4.0).rope.scaling == "none"
    assert read(rope__scaling__factor=4.0).rope.scaling == "linear"
    assert read(rope__scale_linear=4.0).rope.factor == 4.0
    yarn = read(rope__scaling__type="yarn", rope__scaling__factor=4.0, rope__scaling__original_context_length=128).rope
    assert (yarn.scaling, yarn.factor, yarn.original_context, yarn.beta_fast) == ("yarn", 4.0, 128, 32.0)


def test_overrides_win_over_the_file() -> None:
    file: dict[str, Any] = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0}
    assert read(overrides=RopeOverrides(scaling="none"), **file).rope.scaling == "none"
    assert read(overrides=RopeOverrides(scale=2.0), **file).rope.factor == 2.0
    assert read(overrides=RopeOverrides(frequency_scale=0.5)).rope.factor == 2.0
    assert read(overrides=RopeOverrides(scale=2.0)).rope.scaling == "linear"
    assert read(overrides=RopeOverrides(base=5e5)).rope.base == 5e5
    yarn = read(overrides=RopeOverrides(scaling="yarn", scale=2.0, original_context=64, beta_fast=16.0)).rope
    assert (yarn.scaling, yarn.factor, yarn.original_context, yarn.beta_fast) == ("yarn", 2.0, 64, 16.0)
    with pytest.raises(UsageError, match="rotary base"):
        read(overrides=RopeOverrides(base=0.5))


def test_the_rope_style_of_an_adopted_folder_is_kept() -> None:
    assert Hparams.from_metadata(metadata() | {"pacos.rope.style": "halves"}, embedding()).rope.style == "halves"
    with pytest.raises(FormatError, match=r"pacos\.rope\.style"):
        Hparams.from_metadata(metadata() | {"pacos.rope.style": "spiral"}, embedding())


def test_attention_scale_of_the_large_gemma2() -> None:
    from pacos.models.gemma2 import score_scale

    large = read("gemma2", block_count=46, attention__key_length=32, attention__value_length=32)
    assert score_scale(large, 46) == pytest.approx((64 / 4) ** -0.5)
    assert score_scale(large, 62) == pytest.approx(32**-0.5)
    assert score_scale(read("gemma2", block_count=46, attention__scale=0.5), 46) == 0.5
