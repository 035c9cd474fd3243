"""Matrix kernels of every format on every instruction set of this machine, against the numpy definition, to the bit."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from linear_reference import Floats, linear, quantize_activations, same_bits

from pacos.native import function
from pacos.quants import BlockFormat, block_formats, dequantize, quantize, row_bytes

COLUMNS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33)
FORMATS = block_formats()

_address, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_isas = function("pacos_cpu_isas", ctypes.c_char_p, [])
_dequantize = function("pacos_dequantize", _i32, [ctypes.c_char_p, _i32, _address, _address, _i64])
_activations = function("pacos_quantize_activations", _i32, [ctypes.c_char_p, _i32, _address, _i64, _address])
_linear = function(
    "pacos_linear",
    _i32,
    [ctypes.c_char_p, _i32, _address, _i64, _i64, _address, _i64, _address, _address, _i32],
)
ISAS = tuple(_isas().decode().split())

every_format = pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
every_isa = pytest.mark.parametrize("isa", ISAS)


def native_linear(isa: str, fmt: BlockFormat, data: bytes, rows: int, x: Floats, bias: Floats | None = None) -> Floats:
    y = np.full((x.shape[0], rows), np.nan, np.float32)
    x = np.ascontiguousarray(x)
    status = _linear(
        isa.encode(),
        fmt.type_id,
        data,
        rows,
        x.shape[1],
        x.ctypes.data,
        x.shape[0],
        None if bias is None else bias.ctypes.data,
        y.ctypes.data,
        1,
    )
    assert status == 0
    return y


def native_dequantize(isa: str, fmt: BlockFormat, data: bytes, count: int) -> Floats:
    out = np.full(count, 77, np.float32)
    assert _dequantize(isa.encode(), fmt.type_id, data, out.ctypes.data, count) == 0
    return out


def sane_weights(fmt: BlockFormat, rows: int, columns: int, seed: int) -> bytes:
    return quantize(fmt.name, np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32))


def any_bytes(fmt: BlockFormat, rows: int, columns: int, seed: int) -> bytes:
    """Random bits: scales of all sizes and signs, subnormal, infinite and NaN ones among them."""
    return np.random.default_rng(seed).bytes(rows * row_bytes(fmt.name, columns))


def wide_activations(n: int, columns: int, seed: int) -> Floats:
    """Groups of very different size, one all zeros, one nearly so."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns)) * np.exp2(rng.integers(-30, 30, (n, columns // 32)).repeat(32, axis=1))
    x[0, :256] = 0
    x[-1, :256] = 1e-40
    return x.astype(np.float32)


@every_isa
@every_format
def test_dequantize_equals_numpy(fmt: BlockFormat, isa: str) -> None:
    for seed in range(3):
        data = any_bytes(fmt, 40, 256, seed)
        assert same_bits(native_dequantize(isa, fmt, data, 40 * 256), dequantize(fmt.name, data, (40 * 256,)))


@pytest.mark.parametrize(("rows", "columns"), [(21, 512), (1, 2304), (70, 256)], ids=str)
@every_format
def test_linear_equals_numpy(fmt: BlockFormat, rows: int, columns: int) -> None:
    data = sane_weights(fmt, rows, columns, seed=rows)
    x = wide_activations(max(COLUMNS), columns, seed=columns)
    bias = np.random.default_rng(3).normal(size=rows).astype(np.float32)
    expected, with_bias = linear(fmt, data, rows, x), linear(fmt, data, rows, x, bias)
    assert np.isfinite(expected).all()
    for isa in ISAS:
        for n in COLUMNS:
            assert same_bits(native_linear(isa, fmt, data, rows, x[-n:]), expected[-n:]), (isa, n)
        assert same_bits(native_linear(isa, fmt, data, rows, x[:7], bias), with_bias[:7]), isa


@every_format
def test_linear_on_any_bytes_equals_numpy(fmt: BlockFormat) -> None:
    rows, columns = 35, 768
    data = any_bytes(fmt, rows, columns, seed=9)
    x = wide_activations(9, columns, seed=10)
    expected = linear(fmt, data, rows, x)
    for isa in ISAS:
        for n in (1, 4, 9):
            assert same_bits(native_linear(isa, fmt, data, rows, x[:n]), expected[:n]), (isa, n)


@pytest.mark.parametrize("blocks", [1, 3, 9, 15, 65])
@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4", "NVFP4", "Q1_0", "Q2_0"])
def test_rows_that_end_inside_a_panel(name: str, blocks: int) -> None:
    fmt = next(fmt for fmt in FORMATS if fmt.name == name)
    columns = blocks * fmt.block
    data, x = sane_weights(fmt, 18, columns, 1), wide_activations(8, columns, 2)
    expected = linear(fmt, data, 18, x)
    for isa in ISAS:
        for n in (1, 2, 4, 8):
            assert same_bits(native_linear(isa, fmt, data, 18, x[:n]), expected[:n]), (isa, n)


@pytest.mark.parametrize("columns", [1, 15, 48, 257, 300])
@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_float_rows_of_any_length(name: str, columns: int) -> None:
    fmt = next(fmt for fmt in FORMATS if fmt.name == name)
    rng = np.random.default_rng(columns)
    data = quantize(name, rng.normal(size=(19, columns)))
    x = rng.normal(size=(70, columns)).astype(np.float32)
    expected = linear(fmt, data, 19, x)
    for isa in ISAS:
        for n in (1, 2, 3, 4, 5, 6, 7, 11, 70):
            assert same_bits(native_linear(isa, fmt, data, 19, x[:n]), expected[:n]), (isa, n)


@every_isa
@pytest.mark.parametrize(("kind", "group"), [(1, 32), (2, 256)])
def test_activations_equal_numpy(isa: str, kind: int, group: int) -> None:
    x = wide_activations(4, 1024, seed=kind)
    x[1, :600:37] *= -1
    x[2, 300], x[2, 700], x[3, 5] = np.nan, np.inf, np.float32(3.4e38)
    with np.errstate(all="ignore"):
        codes, scales = quantize_activations(x, group)
    for row, row_codes, row_scales in zip(x, codes, scales, strict=True):
        held = np.full(8 * 1024 + 64, 99, np.uint8)
        out = held[-held.ctypes.data % 64 :]
        written = _activations(isa.encode(), kind, row.ctypes.data, 1024, out.ctypes.data)
        assert written % 64 == 0
        assert np.array_equal(out[:1024].view(np.int8), row_codes)
        assert same_bits(out[1024 : 1024 + 4096 // group].view(np.float32), row_scales)
        after = 1024 + -(-4096 // group // 64) * 64
        width, per = (np.int32, 32) if kind == 1 else (np.int16, 16)
        sums = out[after : after + 1024 // per * np.dtype(width).itemsize].view(width)
        assert np.array_equal(sums, row_codes.reshape(-1, per).sum(axis=1))


@every_isa
@pytest.mark.parametrize("columns", [5, 16, 300, 2048])
def test_activations_by_lanes(isa: str, columns: int) -> None:
    x = np.random.default_rng(columns).normal(size=columns).astype(np.float32)
    depth = -(-columns // 16)
    out = np.full(64 * depth + 4096, 7, np.float32)
    out = out[-out.ctypes.data % 64 // 4 :]
    written = _activations(isa.encode(), 3, x.ctypes.data, columns, out.ctypes.data)
    assert written % 1024 == 512
    assert written >= 64 * depth
    expected = np.pad(x, (0, 16 * depth - columns)).reshape(depth, 16).T
    assert same_bits(out[: 16 * depth].reshape(16, depth), expected)


def test_unknown_types_and_sizes_are_refused() -> None:
    y = np.zeros(64, np.float32)
    assert _linear(b"", 999, b"", 1, 32, y.ctypes.data, 1, None, y.ctypes.data, 1) == -1
    assert _linear(b"sse9", 0, b"", 1, 32, y.ctypes.data, 1, None, y.ctypes.data, 1) == -1
    assert _linear(b"", 12, b"", 1, 32, y.ctypes.data, 1, None, y.ctypes.data, 1) == -1
    assert _dequantize(b"", 12, b"", y.ctypes.data, 32) == -1
