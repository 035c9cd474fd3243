"""Block formats in Python: the registry, bits as the `gguf` package has them, and what quantizing loses."""

from __future__ import annotations

import subprocess
import sys

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacos.errors import FormatError, ShapeError, UnsupportedModel
from pacos.quants import BlockFormat, block_format, block_formats, dequantize, quantize, row_bytes

NAMES = (
    "F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S "
    "IQ4_XS IQ1_M BF16 TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0"
).split()
QUANTIZED_BY_GGUF = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 TQ1_0 TQ2_0 MXFP4".split()
UNKNOWN_TO_GGUF = {  # their block as numpy reads it, and the weights of such blocks
    "Q8_K": ([("d", "<f4"), ("codes", "i1", 256), ("sums", "<i2", 16)], lambda b: b["d"][:, None] * b["codes"]),
    "Q1_0": (
        [("d", "<f2"), ("bits", "u1", 16)],
        lambda b: np.where(
            np.unpackbits(b["bits"], axis=1, bitorder="little"), b["d"][:, None], -b["d"][:, None]
        ).astype(np.float32),
    ),
    "Q2_0": (
        [("d", "<f2"), ("codes", "u1", 16)],
        lambda b: (
            b["d"].astype(np.float32)[:, None]
            * ((b["codes"][..., None] >> np.arange(0, 8, 2) & 3).reshape(-1, 64) - np.float32(1)).astype(np.float32)
        ),
    ),
}

# Root mean square error on 262,144 normal weights of deviation 1 (seed 5): ggml's reference, measured once with
# ggml_quantize_chunk of llama.cpp. Ours may lose 0.1 % more.
GGML_ERROR = {"Q2_K": 0.295812, "Q3_K": 0.150544, "Q4_K": 0.0712005, "Q5_K": 0.0360410, "Q6_K": 0.0177043}

every_format = pytest.mark.parametrize("fmt", block_formats(), ids=lambda fmt: fmt.name)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


def test_every_format_is_found_by_its_folder() -> None:
    assert [fmt.name for fmt in block_formats()] == NAMES
    assert block_format("q4_k") is block_format(12) is block_format("Q4_K")


def test_sizes_and_numbers_are_ggmls() -> None:
    for fmt in block_formats():
        if fmt.name == "Q2_0":  # too new for the package
            assert (fmt.type_id, fmt.block, fmt.block_bytes) == (42, 64, 18)
            continue
        kind = gguf.GGMLQuantizationType[fmt.name]
        assert (fmt.type_id, (fmt.block, fmt.block_bytes)) == (kind.value, gguf.GGML_QUANT_SIZES[kind])


def test_unknown_formats_name_the_known_ones() -> None:
    with pytest.raises(UnsupportedModel, match=r"IQ9_Z.*Q4_K"):
        block_format("IQ9_Z")
    with pytest.raises(UnsupportedModel, match="type 99"):
        row_bytes(99, 32)


@every_format
def test_dequantize_is_bit_exact(fmt: BlockFormat) -> None:
    raw = np.random.default_rng(1).integers(0, 256, (32, 8 * fmt.block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        if fmt.name in UNKNOWN_TO_GGUF:
            layout, weights = UNKNOWN_TO_GGUF[fmt.name]
            expected = weights(raw.reshape(-1, fmt.block_bytes).view(layout)[:, 0]).reshape(32, -1)
        else:
            expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[fmt.name])
    assert same_bits(dequantize(fmt.name, raw.tobytes(), (32, 8 * fmt.block)), np.ascontiguousarray(expected))


@pytest.mark.parametrize("name", QUANTIZED_BY_GGUF)
def test_quantize_is_bit_exact(name: str) -> None:
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(64, 512)) * np.exp2(rng.integers(-20, 10, (64, 1)))).astype(np.float32)
    x[3] = 0
    x[4, ::2] = x[4, 1::2]
    expected = gguf.quantize(x, gguf.GGMLQuantizationType[name])
    assert quantize(name, x) == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("name", sorted(GGML_ERROR))
def test_quantize_loses_no_more_than_ggml(name: str) -> None:
    x = np.random.default_rng(5).normal(size=(128, 2048)).astype(np.float32)
    miss = dequantize(name, quantize(name, x), x.shape) - x
    assert float(np.sqrt(np.mean(miss * miss))) <= 1.001 * GGML_ERROR[name]


@every_format
def test_zeros_and_tiny_weights_stay_finite(fmt: BlockFormat) -> None:
    for size in (0.0, 1e-30, 1e-9, -1e-9):
        x = np.full((2, 512), size, np.float32)
        back = dequantize(fmt.name, quantize(fmt.name, x), x.shape)
        assert np.isfinite(back).all()
        assert np.abs(back - x).max() <= 1e-7


@every_format
def test_quantizing_twice_changes_little(fmt: BlockFormat) -> None:
    x = np.random.default_rng(3).normal(size=(4, 1024)).astype(np.float32)
    once = dequantize(fmt.name, quantize(fmt.name, x), x.shape)
    twice = dequantize(fmt.name, quantize(fmt.name, once), x.shape)
    assert np.abs(twice - once).mean() <= np.abs(once - x).mean() + 1e-7


@given(data=st.binary(min_size=144, max_size=144), name=st.sampled_from(["Q4_0", "Q4_K"]))
def test_any_bytes_have_weights(data: bytes, name: str) -> None:
    shape = (256,)
    raw = data[: row_bytes(name, 256)]
    assert dequantize(name, raw, shape).shape == shape


def test_wrong_sizes_are_errors() -> None:
    with pytest.raises(ShapeError, match="300 weights"):
        row_bytes("Q4_K", 300)
    with pytest.raises(ShapeError, match="33 weights"):
        quantize("Q8_0", np.zeros((2, 33), np.float32))
    with pytest.raises(FormatError, match="need 34 bytes, found 33"):
        dequantize("Q8_0", bytes(33), (32,))
    with pytest.raises(FormatError, match="need 0 bytes, found 5"):
        dequantize("Q8_0", bytes(5), (0, 32))
    assert dequantize("Q8_0", b"", (0, 32)).shape == (0, 32)


def test_large_arrays_convert_in_parts() -> None:
    x = np.random.default_rng(4).normal(size=(700, 1024)).astype(np.float32)
    whole, rows = quantize("Q4_0", x), b"".join(quantize("Q4_0", row) for row in x)
    assert whole == rows


def test_importing_quants_does_not_import_numpy() -> None:
    check = "import sys, pacos.quants as q; q.row_bytes('Q4_K', 512); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
