"""Quantized tensors of folders that are damaged, or not as their method has them, are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import packed_builder as packing
import pytest
from packed_builder import Tensors

from pacos.errors import FormatError, UnsupportedModel
from pacos.hub.quantized_folder import UnpackedArchive, unpacked
from pacos.hub.weights import read_weights

ROWS, COLUMNS, GROUP = 32, 128, 32
GROUPS = COLUMNS // GROUP


def random() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(2))


def codes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    made, zeros = random().integers(0, 16, (ROWS, COLUMNS)), random().integers(1, 16, (ROWS, GROUPS))
    return made, zeros, np.ones((ROWS, GROUPS), np.float16)


def gptq() -> Tensors:
    return packing.gptq(*codes(), np.arange(COLUMNS) // GROUP, 4, 1)


def awq() -> Tensors:
    return packing.awq(*codes())


def packed() -> Tensors:
    made, zeros, scales = codes()
    return packing.plain(
        weight_packed=packing.stream(made, 4),
        weight_scale=scales,
        weight_zero_point=np.ascontiguousarray(packing.stream(zeros.T, 4).T),
        weight_shape=np.array([ROWS, COLUMNS]),
    )


def whole() -> Tensors:
    return packing.plain(weight=np.ones((ROWS, COLUMNS), np.int8), weight_scale=np.ones((ROWS, 1), np.float32))


def eights() -> Tensors:
    raw, scales = np.ones((ROWS, COLUMNS), np.uint8), np.ones((2, 2), np.float32)
    return {"weight": ("F8_E4M3", raw), "weight_scale_inv": ("F32", scales)}


def fours() -> Tensors:
    blocks, exponents, _ = packing.mxfp4(random(), 2, ROWS, COLUMNS)
    return {"blocks": ("U8", blocks), "scales": ("U8", exponents)}


METHODS: dict[str, tuple[Callable[[], Tensors], str, dict[str, Any]]] = {
    "gptq": (gptq, "x.", {"quant_method": "gptq", "bits": 4, "group_size": GROUP}),
    "awq": (awq, "x.", {"quant_method": "awq", "bits": 4, "group_size": GROUP}),
    "packed": (packed, "x.", {"quant_method": "compressed-tensors", "format": "pack-quantized"}),
    "whole": (whole, "x.", {"quant_method": "compressed-tensors", "format": "int-quantized"}),
    "eights": (eights, "x.", {"quant_method": "fp8", "weight_block_size": [16, 64]}),
    "fours": (fours, "x_", {"quant_method": "mxfp4"}),
}

Change = Callable[[tuple[str, np.ndarray]], tuple[str, np.ndarray]]


def cut(axis: int) -> Change:
    return lambda one: (one[0], np.ascontiguousarray(np.delete(one[1], -1, axis)))


def typed(kind: str, holder: str) -> Change:
    return lambda one: (kind, one[1].astype(holder))


def filled(value: int) -> Change:
    return lambda one: (one[0], np.full_like(one[1], value))


FAULTS: list[tuple[str, str, Change | None, str]] = [
    ("gptq", "g_idx", filled(-1), r"x\.g_idx' names groups beyond 4"),
    ("gptq", "g_idx", filled(4), r"x\.g_idx' names groups beyond 4"),
    ("gptq", "qweight", typed("F32", "f4"), r"x\.qweight' is F32 .* needed: I32"),
    ("gptq", "scales", cut(1), r"x\.qzeros' is"),
    ("awq", "scales", None, r"x\.scales' is missing"),
    ("awq", "qzeros", None, r"x\.qzeros' is missing"),
    ("awq", "qzeros", cut(1), r"x\.qweight' is .* with zeros"),
    ("awq", "qweight", cut(1), r"x\.qweight' is .* with zeros"),
    ("awq", "qweight", lambda one: (one[0], one[1][:90]), r"90 columns are no 4 groups of 32"),
    ("awq", "scales", cut(0), r"x\.qzeros' is"),
    ("packed", "weight_scale", None, r"x\.weight_scale' is missing"),
    ("packed", "weight_shape", None, r"x\.weight_shape' is missing"),
    ("packed", "weight_shape", filled(-1), r"x\.weight_shape' is -1"),
    ("packed", "weight_shape", filled(1 << 20), r"x\.weight_packed' is"),
    ("packed", "weight_packed", cut(0), r"x\.weight_packed' is \(31, 16\), needed are 32 rows"),
    ("packed", "weight_packed", cut(1), r"x\.weight_scale' is|weight_packed' is"),
    ("packed", "weight_scale", cut(0), r"x\.weight_scale' is"),
    ("packed", "weight_scale", cut(1), r"x\.weight_zero_point' is"),
    ("packed", "weight_zero_point", cut(0), r"x\.weight_zero_point' is"),
    ("whole", "weight_scale", cut(0), r"x\.weight_scale' is \(31, 1\), needed: one scale, or one for a row"),
    ("eights", "weight_scale_inv", cut(0), r"x\.weight_scale_inv' is \(1, 2\), which does not fit \(32, 128\)"),
    ("eights", "weight_scale_inv", cut(1), r"x\.weight_scale_inv' is \(2, 1\), which does not fit"),
    ("eights", "weight_scale_inv", typed("I32", "i4"), r"x\.weight_scale_inv' is I32"),
    ("eights", "weight", lambda one: (one[0], one[1].reshape(-1)), r"x\.weight' is F8_E4M3 .* needed is a matrix"),
    ("fours", "scales", None, r"x_scales' is missing"),
    ("fours", "scales", cut(1), r"x_scales' is U8 \(2, 31, 4\), needed: U8 \(2, 32, 4\)"),
    ("fours", "blocks", cut(3), r"x_blocks' is .* needed are blocks of 16 bytes"),
]


def opened(folder: Path, said: dict[str, Any]) -> UnpackedArchive:
    archive = unpacked(read_weights(folder), folder, {"quantization_config": said})
    assert isinstance(archive, UnpackedArchive)
    return archive


@pytest.mark.parametrize("method", METHODS)
def test_what_is_whole_opens(method: str, tmp_path: Path) -> None:
    make, before, said = METHODS[method]
    packing.save(tmp_path, {before + name: one for name, one in make().items()})
    with closing(opened(tmp_path, said)) as archive:
        ((name, entry),) = archive.tensors.items()
        assert len(archive.data(name)) == entry.nbytes


@pytest.mark.parametrize(("method", "name", "change", "words"), FAULTS)
def test_what_is_damaged_is_named(method: str, name: str, change: Change | None, words: str, tmp_path: Path) -> None:
    make, before, said = METHODS[method]
    tensors = make()
    there = tensors.pop(name)
    if change is not None:
        tensors[name] = change(there)
    packing.save(tmp_path, {before + name: one for name, one in tensors.items()})
    with pytest.raises((FormatError, UnsupportedModel), match=words):
        opened(tmp_path, said)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_that_ends_early_is_refused(method: str, tmp_path: Path) -> None:
    make, before, said = METHODS[method]
    packing.save(tmp_path, {before + name: one for name, one in make().items()})
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        opened(tmp_path, said)


def test_a_last_group_may_be_shorter(tmp_path: Path) -> None:
    """128 columns in groups of 48: the third has 32."""
    made, zeros, scales = codes()
    g_idx = np.arange(COLUMNS) // 48
    for less, listed in ((1, True), (1, False)):
        tensors = packing.gptq(made, zeros[:, :3], scales[:, :3], g_idx, 4, less)
        if not listed:
            del tensors["g_idx"]
        packing.save(tmp_path, {f"x.{name}": one for name, one in tensors.items()})
        with closing(opened(tmp_path, {"quant_method": "gptq", "bits": 4, "group_size": 48})) as archive:
            found = archive.rows("x.weight", "F32").view(np.float32)
            np.testing.assert_array_equal(found, made - zeros[:, g_idx])
