"""Folders that other programs have quantized: weights are what published formulas say, and they run and convert."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import packed_builder as packing
import pytest
from models import running, tiny
from packed_builder import Tensors

from pacos import backends, quants
from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.gguf import read_gguf
from pacos.formats.packed import eight_bit_floats
from pacos.hub.convert import convert, paired_rows
from pacos.hub.opening import open_model
from pacos.hub.quantized_folder import UnpackedArchive, unpacked
from pacos.hub.weights import read_weights

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GROUP = 64


def linear(name: str) -> bool:
    return any(f".{one}.weight" in name for one in LINEARS)


def write(
    folder: Path, packed: Callable[[np.ndarray, np.random.Generator], tuple[Tensors, np.ndarray]], **said: Any
) -> dict[str, np.ndarray]:
    """A tiny Llama whose linears are packed; the weights that the folder stands for."""
    tiny.write_folder("llama", folder)
    random = np.random.Generator(np.random.PCG64(7))
    tensors: Tensors = {}
    expected = {}
    for name, values in tiny.weights("llama").items():
        expected[name] = values
        if not linear(name):
            tensors[name] = ("F32", values)
            continue
        made, expected[name] = packed(values, random)
        base = name.removesuffix("weight")
        tensors |= {base + end: one for end, one in made.items()}
    packing.save(folder, tensors)
    packing.say(folder, **said)
    return expected


def weights_of(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Types and weights in GGUF's names."""
    with closing(open_model(path)) as archive:
        return {
            name: (entry.type, quants.dequantize(entry.type, archive.data(name), entry.shape))
            for name, entry in archive.tensors.items()
        }


GGUF = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
GGUF |= {f"{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")}


def gguf_name(name: str) -> str:
    parts = name.split(".")
    return f"blk.{parts[2]}.{GGUF[parts[4]]}.weight"


def check(folder: Path, expected: dict[str, np.ndarray], kind: str, rounded: str = "F32") -> None:
    """Types and weights of all linears, in the folder and in the file made of it; and what the folder computes."""
    found = weights_of(folder)
    converted = folder.with_suffix(".gguf")
    convert(folder, converted, None if kind not in ("F16", "BF16", "F32") else kind)
    written = weights_of(converted)
    heads = {"q_proj": tiny.HEADS, "k_proj": tiny.HEADS // 2}
    plain = {name: ("F32", values) for name, values in expected.items()}
    for name in filter(linear, expected):
        values = quants.dequantize(rounded, quants.quantize(rounded, expected[name]), expected[name].shape)
        plain[name] = ("F32", values)
        assert found[gguf_name(name)][0] == kind
        np.testing.assert_array_equal(found[gguf_name(name)][1], values)
        count = next((number for end, number in heads.items() if end in name), 0)
        values = paired_rows(values, count, values.shape[0] // count) if count else values
        assert written[gguf_name(name)][0] == kind
        np.testing.assert_array_equal(written[gguf_name(name)][1], values)
    unpacked = tiny.write_folder("llama", folder.with_name("plain"))
    packing.save(unpacked, plain)
    with closing(backends.backend("cpu", activations="f32")) as cpu:
        rows = [running.logits(open_model(path), cpu, [tiny.prompt(64)], 4)[0] for path in (unpacked, folder)]
    assert running.divergence(*rows) < 1e-6


def drawn(values: np.ndarray, random: np.random.Generator, bits: int, groups: int, *, zero: int | None) -> Any:
    """Random codes, zeros (or all `zero`) and scales of a matrix, scales in F16."""
    codes = random.integers(0, 1 << bits, values.shape)
    zeros = (
        random.integers(1, 1 << bits, (values.shape[0], groups))
        if zero is None
        else np.full((values.shape[0], groups), zero)
    )
    scales = (random.uniform(0.5, 1, (values.shape[0], groups)) * 0.3 / (1 << bits)).astype(np.float16)
    return codes, zeros, scales


def dense(codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray, g_idx: np.ndarray) -> np.ndarray:
    return ((codes - zeros[:, g_idx]) * scales.astype(np.float64)[:, g_idx]).astype(np.float32)


@pytest.mark.parametrize(
    ("bits", "zero", "form", "kind"),
    [
        *[(4, 8, "gptq", "Q4_0"), (4, None, "gptq", "Q5_0"), (4, None, "gptq_v2", "Q5_0"), (8, 128, "gptq", "Q8_0")],
        *[(2, 2, "gptq", "Q4_0"), (3, 4, "gptq_v2", "Q4_0"), (3, None, "gptq", "Q4_0"), (8, None, "gptq", "F16")],
    ],
)
def test_gptq(bits: int, zero: int | None, form: str, kind: str, tmp_path: Path) -> None:
    def packed(values: np.ndarray, random: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        groups = values.shape[1] // GROUP
        codes, zeros, scales = drawn(values, random, bits, groups, zero=zero)
        g_idx = np.arange(values.shape[1]) // GROUP
        return packing.gptq(codes, zeros, scales, g_idx, bits, int(form == "gptq")), dense(codes, zeros, scales, g_idx)

    said = {"quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": False, "checkpoint_format": form}
    expected = write(tmp_path / "folder", packed, **said)
    check(tmp_path / "folder", expected, kind, "F16" if kind == "F16" else "F32")


def test_gptq_in_the_order_of_activations(tmp_path: Path) -> None:
    def packed(values: np.ndarray, random: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        groups = values.shape[1] // GROUP
        codes, zeros, scales = drawn(values, random, 4, groups, zero=8)
        g_idx = random.permutation(np.arange(values.shape[1]) // GROUP)
        return packing.gptq(codes, zeros, scales, g_idx, 4, 1), dense(codes, zeros, scales, g_idx)

    expected = write(tmp_path / "folder", packed, quant_method="gptq", bits=4, group_size=GROUP, desc_act=True)
    check(tmp_path / "folder", expected, "F16", "F16")


def test_awq(tmp_path: Path) -> None:
    def packed(values: np.ndarray, random: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        codes, zeros, scales = drawn(values, random, 4, values.shape[1] // GROUP, zero=None)
        return packing.awq(codes, zeros, scales), dense(codes, zeros, scales, np.arange(values.shape[1]) // GROUP)

    expected = write(tmp_path / "folder", packed, quant_method="awq", bits=4, group_size=GROUP, version="gemm")
    check(tmp_path / "folder", expected, "Q5_0")


@pytest.mark.parametrize("scales", ["tile", "rows", "one", "none"])
def test_eight_bit_floats(scales: str, tmp_path: Path) -> None:
    kind = "F8_E5M2" if scales == "rows" else "F8_E4M3"
    value = packing.e5m2 if scales == "rows" else packing.e4m3
    finite = [byte for byte in range(256) if byte & 127 < (124 if scales == "rows" else 127)]

    def packed(values: np.ndarray, random: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        raw = random.choice(finite, values.shape).astype(np.uint8)
        rows, columns = values.shape
        shape = {"tile": (-(-rows // 96), -(-columns // 96)), "rows": (rows, 1), "one": (), "none": ()}[scales]
        small = np.asarray(random.uniform(0.5, 1, shape).astype(np.float32) * np.float32(1e-3))
        spread = np.kron(small, np.ones((96, 96)))[:rows, :columns] if scales == "tile" else small
        values_of = np.array([0.0 if byte not in finite else value(byte) for byte in range(256)])
        weights = values_of[raw] * (1.0 if scales == "none" else spread)
        made: Tensors = {"weight": (kind, raw)}
        if scales != "none":
            made["weight_scale" if scales == "rows" else "weight_scale_inv"] = ("F32", small)
            made["input_scale"] = ("F32", np.ones((), np.float32))
        return made, weights.astype(np.float32)

    expected = write(tmp_path / "folder", packed, quant_method="fp8", weight_block_size=[96, 96])
    check(tmp_path / "folder", expected, "BF16", "BF16")
    convert(tmp_path / "folder", tmp_path / "wide.gguf", "F32")  # not rounded on the way
    found = weights_of(tmp_path / "wide.gguf")
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.v_proj.weight"):
        np.testing.assert_array_equal(found[gguf_name(name)][1], expected[name])


def test_experts_in_mxfp4(tmp_path: Path) -> None:
    folder = tiny.write_folder("gpt-oss", tmp_path / "folder")
    random = np.random.Generator(np.random.PCG64(5))
    tensors: Tensors = {}
    plain: Tensors = {}
    for name, values in tiny.weights("gpt-oss").items():
        plain[name] = ("F32", values)
        if not name.endswith("_proj") or values.ndim != 3:
            tensors[name] = ("F32", values)
            continue
        experts, inputs, outputs = values.shape
        blocks, exponents, weights = packing.mxfp4(random, experts, outputs, inputs)
        tensors |= {f"{name}_blocks": ("U8", blocks), f"{name}_scales": ("U8", exponents)}
        plain[name] = ("F32", weights.swapaxes(1, 2))
    packing.save(folder, tensors)
    packing.say(folder, quant_method="mxfp4")
    converted = tmp_path / "file.gguf"
    convert(folder, converted)
    unpacked = tiny.write_folder("gpt-oss", tmp_path / "plain")
    packing.save(unpacked, plain)
    expected = weights_of(unpacked)
    for path in (folder, converted):
        found = weights_of(path)
        stacks = [name for name in found if name.endswith("_exps.weight")]
        assert len(stacks) == 6
        for name in stacks:
            assert found[name][0] == "MXFP4"
            np.testing.assert_array_equal(found[name][1], expected[name][1])
    assert read_gguf(converted).metadata["general.file_type"] == 38
    with closing(backends.backend("reference")) as reference:
        rows = [running.logits(open_model(path), reference, [tiny.prompt(64)], 4)[0] for path in (unpacked, folder)]
    assert running.divergence(*rows) < 1e-6


def test_experts_of_one_layer_get_one_type(tmp_path: Path) -> None:
    folder = tiny.write_folder("mixtral", tmp_path / "folder")
    random = np.random.Generator(np.random.PCG64(5))
    tensors: Tensors = {}
    expected = {}
    for name, values in tiny.weights("mixtral").items():
        tensors[name] = ("F32", values)
        if ".experts." in name and values.ndim == 2:
            del tensors[name]
            zero = None if ".experts.1." in name else 8
            codes, zeros, scales = drawn(values, random, 4, values.shape[1] // 32, zero=zero)
            g_idx = np.arange(values.shape[1]) // 32
            expected[name] = dense(codes, zeros, scales, g_idx)
            base = name.removesuffix("weight")
            tensors |= {base + end: one for end, one in packing.gptq(codes, zeros, scales, g_idx, 4, 1).items()}
    if not expected:
        pytest.fail("the case has no experts of their own")
    packing.save(folder, tensors)
    packing.say(folder, quant_method="gptq", bits=4, group_size=32)
    kind, found = weights_of(folder)["blk.0.ffn_up_exps.weight"]
    assert kind == "Q5_0"
    for expert in range(6):
        name = f"model.layers.0.block_sparse_moe.experts.{expert}.w3.weight"
        np.testing.assert_array_equal(found[expert], expected[name])


def _damaged(end: str, change: Callable[[tuple[str, np.ndarray]], Any]) -> Callable[..., Any]:
    def packed(values: np.ndarray, random: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        codes, zeros, scales = drawn(values, random, 4, values.shape[1] // GROUP, zero=8)
        made = packing.gptq(codes, zeros, scales, np.arange(values.shape[1]) // GROUP, 4, 1)
        changed = change(made.pop(end))
        return made | ({end: changed} if changed is not None else {}), values

    return packed


@pytest.mark.parametrize(
    ("end", "change", "words"),
    [
        ("scales", lambda one: None, "scales' is missing"),
        ("qzeros", lambda one: None, "qzeros' is missing"),
        ("qzeros", lambda one: (one[0], one[1][:, :-1]), "qzeros' is"),
        ("qweight", lambda one: (one[0], one[1][:, :-1]), "qweight' is"),
        ("qzeros", lambda one: (one[0], one[1][:-1]), "qzeros' is"),
        ("scales", lambda one: (one[0], one[1][:0]), "is no matrix"),
        ("scales", lambda one: ("U8", one[1].view(np.uint8)), "needed: F16 or BF16 or F32"),
        ("g_idx", lambda one: (one[0], one[1] + 99), "names groups beyond"),
        ("g_idx", lambda one: (one[0], one[1][:-1]), "needed: I32"),
    ],
)
def test_parts_that_do_not_fit_are_named(end: str, change: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path, _damaged(end, change), quant_method="gptq", bits=4, group_size=GROUP)
    with pytest.raises(FormatError, match=words):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"quant_method": "bitsandbytes"}, "quantized by 'bitsandbytes' .*supported: fp8.*gptq, awq, mxfp4"),
        ({"quant_method": "hqq"}, "quantized by 'hqq'"),
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "format 'marlin' .*gptq_v2"),
        ({"quant_method": "awq", "version": "gemv"}, "version 'gemv'"),
        ({}, "nothing says how"),
    ],
)
def test_methods_that_are_not_read_say_which_are(said: dict[str, Any], words: str, tmp_path: Path) -> None:
    write(tmp_path, _damaged("g_idx", lambda one: one), **said)
    with pytest.raises(UnsupportedModel, match=words):
        open_model(tmp_path)


def test_what_is_said_wrongly_is_an_error(tmp_path: Path) -> None:
    weight = {"x.weight_packed": ("I32", np.zeros((32, 8), np.int32)), "x.weight_scale": ("F32", np.ones((32, 2), "f"))}
    packing.save(tmp_path, {**weight, "x.weight_shape": ("I64", np.array([32, 64]))})
    for groups in (3, [1], {"0": {"weights": 5}}):
        said = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
        with closing(read_weights(tmp_path)) as source, pytest.raises(FormatError):
            unpacked(source, tmp_path, {"quantization_config": said})


def test_every_eight_bit_float_has_its_value() -> None:
    for kind, value in (("F8_E4M3", packing.e4m3), ("F8_E5M2", packing.e5m2)):
        finite = [byte for byte in range(256) if kind == "F8_E4M3" or byte & 127 < 124]
        np.testing.assert_array_equal(eight_bit_floats(kind)[finite], [np.float32(value(byte)) for byte in finite])
    assert [float(eight_bit_floats("F8_E8M0")[byte]) for byte in (0, 127, 128, 254)] == [2.0**-127, 1, 2, 2.0**127]


VECTORS = Path(__file__).parents[1] / "data" / "packed_weights.npz"
ORACLE = {
    "tiles": ({"quant_method": "fp8", "weight_block_size": [16, 64]}, "BF16"),
    "experts": ({"quant_method": "mxfp4"}, "MXFP4"),
    "int4": ({"format": "pack-quantized"}, "Q4_0"),
    "int4-zeros": ({"format": "pack-quantized"}, "Q5_0"),
    "int3-zeros": ({"format": "pack-quantized", "config_groups": {"0": {"weights": {"num_bits": 3}}}}, "Q4_0"),
    "int8-rows": ({"format": "pack-quantized"}, "Q8_0"),
    "bytes": ({"format": "int-quantized"}, "F32"),
    "floats-rows": ({"format": "float-quantized"}, "BF16"),
    "floats-tensor": ({"format": "float-quantized"}, "BF16"),
    "floats-tiles": (
        {"format": "float-quantized", "config_groups": {"0": {"weights": {"block_structure": [16, 64]}}}},
        "BF16",
    ),
}


@pytest.mark.parametrize("case", ORACLE)
def test_other_programs_unpack_the_same(case: str, tmp_path: Path) -> None:
    """`scripts/packed-vectors` wrote what compressed-tensors and transformers make of their own tensors."""
    tensors: Tensors = {}
    with np.load(VECTORS) as stored:
        expected = stored[f"{case}/expected"]
        for key in stored:
            owner, name, *kind = key.split("/")
            if owner == case and kind:
                tensors[f"x.{name}"] = (kind[0], stored[key])
    packing.save(tmp_path, tensors)
    said, kind_expected = ORACLE[case]
    said = {"quant_method": "compressed-tensors", **said}
    with closing(unpacked(read_weights(tmp_path), tmp_path, {"quantization_config": said})) as archive:
        assert isinstance(archive, UnpackedArchive)
        ((name, entry),) = archive.tensors.items()
        assert entry.type == kind_expected
        np.testing.assert_array_equal(archive.rows(name, "F32").view(np.float32).reshape(expected.shape), expected)
        rounded = quants.dequantize(entry.type, archive.data(name), entry.shape)
        if kind_expected != "BF16":
            np.testing.assert_array_equal(rounded, expected)


def test_every_stored_case_is_compared() -> None:
    with np.load(VECTORS) as stored:
        assert {key.split("/")[0] for key in stored} == set(ORACLE)
