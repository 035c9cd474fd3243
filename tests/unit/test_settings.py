"""Options: what their metadata promises is what validation, texts and variables do."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pacos.errors import UsageError
from pacos.settings import (
    LOGIT_BIAS_MAX,
    SAMPLERS,
    STOP_IDS_MAX,
    STOP_STRINGS_MAX,
    GenerateOptions,
    LoadOptions,
    SamplingOptions,
    from_environment,
    options_of,
    read,
)

GROUPS = (SamplingOptions, GenerateOptions, LoadOptions)
EVERY = [(group, one) for group in GROUPS for one in options_of(group)]
NUMBERS = [(group, one) for group, one in EVERY if one.kind in (int, float)]


@pytest.mark.parametrize(("group", "one"), NUMBERS, ids=lambda value: getattr(value, "name", ""))
def test_limits_hold_on_both_sides(group: type, one: Any) -> None:
    """The limit passes, just beyond it is refused; NaN, infinity, text, true and none are refused."""
    step = 1 if one.kind is int else 1e-3
    assert one.maximum is not None
    low = one.minimum if one.minimum is not None else one.above + step
    for good in (low, one.maximum):
        assert getattr(group(**{one.name: one.kind(good)}), one.name) == good
    beyond = one.maximum + 1 if one.kind is int else math.nextafter(one.maximum, math.inf)
    below = one.minimum - step if one.minimum is not None else one.above
    for bad in (beyond, below, math.nan, math.inf, -math.inf, "1", True, None, [1], 10**400, 10**5000):
        with pytest.raises(UsageError, match=one.name):
            group(**{one.name: bad})


def test_messages_name_value_and_limits() -> None:
    with pytest.raises(UsageError) as caught:
        SamplingOptions(top_p=1.25)
    assert str(caught.value) == "top_p is 1.25 (use a number at least 0 and at most 1)"
    with pytest.raises(UsageError) as caught:
        SamplingOptions(top_k=2**31)
    assert str(caught.value) == "top_k is 2147483648 (use a number at least -1 and at most 2147483647)"
    with pytest.raises(UsageError) as caught:
        LoadOptions(cache_type_k="q9")
    choices = "auto, f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl"
    assert str(caught.value) == f"cache_type_k is 'q9' (use one of {choices})"


def test_every_option_is_complete() -> None:
    """A help text, one long flag at least or none at all, a variable for each that has a flag, no name twice."""
    for _, one in EVERY:
        assert one.help.endswith((".", "repeatable."))
        assert not one.flags or (
            one.flags[0].startswith("--") and one.env == f"PACOS_{one.flags[0][2:].upper()}".replace("-", "_")
        )
    flags = [flag for _, one in EVERY for flag in (*one.flags, *one.off_flags)]
    assert len(flags) == len(set(flags))
    assert len({one.name for _, one in EVERY}) == len(EVERY)


def test_defaults_are_valid_and_frozen() -> None:
    for group in GROUPS:
        made = group()
        assert all(getattr(made, one.name) == one.default for one in options_of(group))
        with pytest.raises(FrozenInstanceError):
            setattr(made, options_of(group)[0].name, 1)


@pytest.mark.parametrize("text", ["top_k;temperature", "top-k;temp", " top_k ; temp ;"])
def test_sampler_chains_are_read(text: str) -> None:
    assert SamplingOptions(samplers=text).samplers == ("top_k", "temperature")
    assert SamplingOptions(samplers=text.split(";")).samplers == ("top_k", "temperature")


def test_every_sampler_name_of_the_default_chain_is_known() -> None:
    assert SamplingOptions(samplers=SAMPLERS).samplers == SAMPLERS
    assert SamplingOptions(samplers="").samplers == ()
    with pytest.raises(UsageError, match=r"unknown sampler 'topk'.*top_k"):
        SamplingOptions(samplers="topk")
    with pytest.raises(UsageError, match=r"sampler 'infill' is not supported.*top_k"):
        SamplingOptions(samplers="top_k;infill")
    with pytest.raises(UsageError, match=r"33 entries.*32"):
        SamplingOptions(samplers=["top_k"] * 33)


def test_sampler_letters_are_those_of_llama_cpp() -> None:
    assert SamplingOptions(sampler_seq="edskypmxt").samplers == SAMPLERS
    chain = SamplingOptions(sampler_seq="kfa")
    assert (chain.samplers, chain.sampler_seq) == (("top_k", "tfs_z", "adaptive_p"), "")
    for letters, words in (("kz", "unknown sampler letter 'z'"), ("ki", "'infill' is not supported")):
        with pytest.raises(UsageError, match=words):
            SamplingOptions(sampler_seq=letters)
    with pytest.raises(UsageError, match="the same thing"):
        SamplingOptions(sampler_seq="kt", samplers="top_k")


def test_what_is_switched_on_joins_the_default_chain_alone() -> None:
    joined = SamplingOptions(tfs_z=0.9, top_a=0.2, adaptive_target=0.5).samplers
    expected = "penalties;dry;top_n_sigma;top_k;tfs_z;typ_p;top_p;min_p;top_a;xtc;temperature;adaptive_p"
    assert ";".join(joined) == expected
    assert SamplingOptions(samplers=joined, tfs_z=0.9).samplers == joined
    assert SamplingOptions(samplers="top_k", tfs_z=0.9).samplers == ("top_k",)


def test_sequence_breakers_are_read() -> None:
    (one,) = (one for one in options_of(SamplingOptions) if one.name == "dry_sequence_breakers")
    assert [one.from_text(text) for text in (r"\n", "none", r"a\\b\x")] == [("\n",), (), ("a\\b\\x",)]
    assert SamplingOptions(dry_sequence_breakers="x").dry_sequence_breakers == ("x",)
    assert SamplingOptions(dry_sequence_breakers=["x", "y", "x"]).dry_sequence_breakers == ("x", "y")
    for bad in ("", "x" * 41, 5):
        with pytest.raises(UsageError, match=r"dry_sequence_breakers has the entry .*40 bytes"):
            SamplingOptions(dry_sequence_breakers=[bad])


@pytest.mark.parametrize(
    "bad",
    [{-1: 1.0}, {2**31: 1.0}, {1: math.nan}, {1: math.inf}, {1: 100.5}, {1: -1e30}, {"1": 1.0}, [[1]], [3], {1: "x"},
     {1: None}, {True: 1.0}, 5, "1+1"],
)  # fmt: skip
def test_bad_logit_biases_are_refused(bad: Any) -> None:
    with pytest.raises(UsageError, match="logit_bias"):
        SamplingOptions(logit_bias=bad)


def test_logit_biases_are_read_and_counted() -> None:
    assert SamplingOptions(logit_bias={5: 1, 6: -math.inf}).logit_bias == ((5, 1.0), (6, -math.inf))
    assert len(SamplingOptions(logit_bias=dict.fromkeys(range(LOGIT_BIAS_MAX), 1.0)).logit_bias) == LOGIT_BIAS_MAX
    with pytest.raises(UsageError, match="1025 entries"):
        SamplingOptions(logit_bias=dict.fromkeys(range(LOGIT_BIAS_MAX + 1), 1.0))
    (one,) = (one for one in options_of(SamplingOptions) if one.name == "logit_bias")
    assert one.from_text("15043-1.5") == ((15043, -1.5),)
    for text in ("hello", "12", "12+", "+3", "12+x"):
        with pytest.raises(UsageError, match="logit_bias"):
            one.from_text(text)


def test_stops_are_counted_and_measured() -> None:
    assert GenerateOptions(stop="x").stop == ("x",)
    assert GenerateOptions(stop=["a"] * STOP_STRINGS_MAX, stop_ids=range_list(STOP_IDS_MAX)).stop_ids[-1] == 127
    strings: list[Any] = [["a"] * 65, [""], ["a" * 1025], [1], [["a"]], 5]
    ids: list[Any] = [range_list(129), [-1], ["a"], [True], 5]
    for bad in [*({"stop": value} for value in strings), *({"stop_ids": value} for value in ids)]:
        with pytest.raises(UsageError, match="stop"):
            GenerateOptions(**bad)


def range_list(count: int) -> list[int]:
    return list(range(count))


def test_read_spreads_names_over_groups() -> None:
    sampling, generate = read((SamplingOptions, GenerateOptions), {"temp": 0, "n_predict": 5, "seed": None})
    assert (sampling.temp, sampling.seed, generate.n_predict) == (0.0, -1, 5)
    assert isinstance(sampling.temp, float)
    with pytest.raises(UsageError, match=r"unknown option 'n_predikt' \(did you mean 'n_predict'\?\)"):
        read((SamplingOptions, GenerateOptions), {"n_predikt": 5})


def test_variables_are_read() -> None:
    found = from_environment(
        GROUPS, {"PACOS_TEMP": "0.5", "PACOS_IGNORE_EOS": "yes", "PACOS_CTX_SIZE": "512", "PACOS_SEED": ""}
    )
    assert found == {"temp": 0.5, "ignore_eos": True, "ctx_size": 512}
    for name, text in (
        ("PACOS_TEMP", "warm"),
        ("PACOS_TEMP", "nan"),
        ("PACOS_TOP_K", "1.5"),
        ("PACOS_IGNORE_EOS", "2"),
        ("PACOS_CACHE_TYPE_K", "q9"),
    ):
        with pytest.raises(UsageError, match=f"variable {name}"):
            from_environment(GROUPS, {name: text})
