"""Weights of whole numbers in quantized folders: which tensors of GPTQ, AWQ and compressed-tensors belong together.

Shapes: N outputs (rows), D inputs (columns), G groups of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pacos import quants
from pacos.errors import FormatError, UnsupportedModel
from pacos.formats import unpack
from pacos.formats.mapped import MappedArchive
from pacos.formats.packed import (
    Codes,
    Packed,
    awq_columns,
    eight_bit_floats,
    fields,
    fits_half,
    holding_type,
    spaced_fields,
)
from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Config = Mapping[str, Any]
Made = tuple[str, Packed, list[str]]  # the tensor's name, what makes it, and the tensors that it is made of

_GPTQ_FORMATS = ("gptq", "gptq_v2")
_COMPRESSED = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "dense")
_AWQ_VERSIONS = ("gemm",)
_EIGHT_BITS = 8
_FLOATS = ("F16", "BF16", "F32")
_NUMPY = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}


def array_of(source: MappedArchive, name: str) -> NDArray[Any]:
    """A tensor as the file holds it; BF16 and eight-bit floats as f32."""
    entry = source.tensors[name]
    data = source.data(name)
    if entry.type == "BF16":
        return quants.dequantize("BF16", data, entry.shape)
    if entry.type in ("F8_E4M3", "F8_E5M2", "F8_E8M0"):
        return eight_bit_floats(entry.type)[np.frombuffer(data, np.uint8)].reshape(entry.shape)
    return np.frombuffer(data, _NUMPY[entry.type]).reshape(entry.shape)


def part_of(
    source: MappedArchive, name: str, types: tuple[str, ...], shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """A tensor that must be there in one of these types, and shape. Errors: FormatError."""
    entry = source.tensors.get(name)
    if entry is None:
        raise FormatError(f"{source.path}: tensor '{name}' is missing", hint="is the folder complete?")
    if entry.type not in types or (shape is not None and entry.shape != shape):
        wanted = f"{' or '.join(types)}{'' if shape is None else f' {shape}'}"
        raise FormatError(f"{source.path}: tensor '{name}' is {entry.type} {entry.shape}, needed: {wanted}")
    return array_of(source, name)


def need(condition: bool, source: MappedArchive, name: str, what: str) -> None:
    """Refuse a tensor that is not as it must be. Errors: FormatError naming it."""
    if not condition:
        raise FormatError(f"{source.path}: tensor '{name}' {what}", hint="the folder is damaged, or its writer was")


def _groups(
    source: MappedArchive, name: str, columns: int, groups: int, said: Config
) -> tuple[NDArray[Any] | None, int]:
    """The group of each column, None when they are equal runs; and how many neighbours are sure to share one."""
    size = said.get("group_size", said.get("q_group_size"))
    run = size if isinstance(size, int) and size > 0 else -(-columns // groups)
    if groups != -(-columns // run):  # some folders have other groups in some layers than config.json says
        equal = columns % groups == 0 or name in source.tensors
        need(equal, source, name, f"is missing, and {columns} columns are no {groups} groups of {size} or of one size")
        run = -(-columns // groups)
    plain = np.arange(columns) // run
    if name in source.tensors:
        listed = part_of(source, name, ("I32",), (columns,))
        need(bool(((listed >= 0) & (listed < groups)).all()), source, name, f"names groups beyond {groups}")
        if not (listed == plain).all():
            return listed.astype(np.int64), 0
    if columns % run or columns // run != groups:
        need(int(plain[-1]) < groups, source, name, "is missing, and the groups are not equal")
        return plain, 0
    return None, run


def gptq_or_awq(source: MappedArchive, name: str, said: Config) -> Made | None:
    """A matrix of GPTQ or AWQ, when this is the name of its words.

    Errors: FormatError, UnsupportedModel for a format or version of them that is not read.
    """
    if not name.endswith(".qweight"):
        return None
    method, base = said.get("quant_method"), name.removesuffix(".qweight")
    if method not in ("gptq", "awq"):
        hint = 'config.json should have a quantization_config with quant_method "gptq" or "awq"'
        raise UnsupportedModel(f"{source.path}: tensor '{name}' is quantized, but nothing says how", hint=hint)
    words = part_of(source, name, ("I32",))
    scales = part_of(source, f"{base}.scales", _FLOATS)
    zeros = part_of(source, f"{base}.qzeros", ("I32",))
    need(words.ndim == scales.ndim == zeros.ndim == 2 and words.size > 0 < scales.size, source, name, "is no matrix")
    need(zeros.shape[0] == scales.shape[0], source, f"{base}.qzeros", f"is {zeros.shape}, the scales {scales.shape}")
    rows = scales.shape[1]  # [G, N]
    columns, bits, centre = (_awq if method == "awq" else _gptq)(source, base, said, words, zeros, rows)
    groups, run = _groups(source, f"{base}.g_idx", columns, scales.shape[0], said)
    scale_type = source.tensors[f"{base}.scales"].type
    half = scale_type == "F16" or fits_half(scales.astype(np.float32))
    kind = holding_type(*_limits(centre(), bits), scale_type, run, half=half)
    layout = unpack.MIXED if method == "awq" else unpack.DOWN
    packed = Codes((rows, columns), kind, layout, bits, words, lambda: (centre().T, scales.T), groups, run)
    return f"{base}.weight", packed, [f"{base}.{end}" for end in ("qweight", "qzeros", "scales", "g_idx")]


def _limits(centres: NDArray[Any], bits: int) -> tuple[int, int]:
    """The least and the greatest that a code less its centre can be."""
    return -int(centres.max()), (1 << bits) - 1 - int(centres.min())


Centres = Callable[[], "NDArray[Any]"]


def _gptq(
    source: MappedArchive, base: str, said: Config, words: NDArray[Any], zeros: NDArray[Any], rows: int
) -> tuple[int, int, Centres]:
    """Words run down the columns of [inputs, outputs]; zeros of the first format are stored less one."""
    form = said.get("checkpoint_format", "gptq")
    if form not in _GPTQ_FORMATS:
        raise UnsupportedModel(
            f"{source.path}: GPTQ in the format {form!a}", hint=f"supported: {', '.join(_GPTQ_FORMATS)}"
        )
    bits = zeros.shape[1] * 32 // max(1, rows)
    need(bits in (2, 3, 4, 8) and zeros.shape[1] * 32 == bits * rows, source, f"{base}.qzeros", f"is {zeros.shape}")
    need(words.shape[1] == rows and words.shape[0] * 32 % bits == 0, source, f"{base}.qweight", f"is {words.shape}")
    more = np.uint8(form == "gptq")

    def centre() -> NDArray[Any]:  # [G, N]
        found = fields(zeros, bits)
        return found.astype(np.int16) + more if bits == _EIGHT_BITS else found + more

    return words.shape[0] * 32 // bits, bits, centre


def _awq(
    source: MappedArchive, base: str, said: Config, words: NDArray[Any], zeros: NDArray[Any], rows: int
) -> tuple[int, int, Centres]:
    """Words run along the outputs of [inputs, outputs], their nibbles interleaved."""
    version = str(said.get("version", "gemm")).lower()
    if version not in _AWQ_VERSIONS or said.get("bits", said.get("w_bit", 4)) != 4:
        found = f"AWQ of version {version!a} with {said.get('bits', said.get('w_bit'))} bits"
        raise UnsupportedModel(f"{source.path}: {found}", hint="supported: gemm with 4 bits")
    fits = words.shape[1] * 8 == rows and zeros.shape[1] * 8 == rows
    need(fits, source, f"{base}.qweight", f"is {words.shape}, with zeros {zeros.shape} and {rows} scales")
    return words.shape[0], 4, lambda: awq_columns(zeros)  # [G, N]


def compressed(source: MappedArchive, name: str, said: Config) -> Made | None:
    """compressed-tensors' pack-quantized: words run along the inputs of [outputs, inputs]."""
    if not name.endswith(".weight_packed"):
        return None
    base = name.removesuffix("_packed")
    if said.get("format") not in _COMPRESSED or source.tensors[name].type != "I32":
        form = said.get("format")
        raise UnsupportedModel(
            f"{source.path}: weights packed as {form!a}", hint=f"supported: {', '.join(_COMPRESSED)}"
        )
    words = part_of(source, name, ("I32",))
    scales = part_of(source, f"{base}_scale", _FLOATS)
    rows, columns = part_of(source, f"{base}_shape", ("I64", "I32"), (2,)).tolist()
    need(0 < columns < 1 << 31, source, f"{base}_shape", f"is {rows} x {columns}")
    need(words.ndim == 2 and words.shape[0] == rows, source, name, f"is {words.shape}, needed are {rows} rows")
    bits, without_gaps = _bits(words.shape[1], columns, said)
    need(bits > 0 and scales.ndim == 2 and scales.shape[0] == rows, source, f"{base}_scale", f"is {scales.shape}")
    centre = np.full(scales.shape, 1 << (bits - 1), np.int16)
    if (zero := f"{base}_zero_point") in source.tensors:
        packed = part_of(source, zero, ("I32",))
        taken = fields if without_gaps else spaced_fields
        centre = taken(np.ascontiguousarray(packed.T), bits).T[:rows].astype(np.int16)
        need(centre.shape == scales.shape, source, zero, f"is {packed.shape}")
    groups, run = _groups(source, f"{base}_g_idx", columns, scales.shape[1], {})
    half, limits = fits_half(scales.astype(np.float32)), _limits(centre, bits)
    kind = holding_type(*limits, source.tensors[f"{base}_scale"].type, run, half=half)
    layout = unpack.ALONG if without_gaps else unpack.SPACED
    made = Codes((rows, columns), kind, layout, bits, words, lambda: (centre, scales), groups, run)
    return base, made, [f"{base}_{end}" for end in ("packed", "scale", "shape", "zero_point", "g_idx")]


def _bits(words: int, columns: int, said: Config) -> tuple[int, bool]:
    """The bits of a number, 0 when none fit, and whether they follow each other without gaps.

    Older versions of compressed-tensors left the bits of a word free in which no number fits whole.
    """
    groups = (said.get("config_groups") or {}).values()
    given = [(group.get("weights") or {}).get("num_bits") for group in groups if isinstance(group, dict)]
    for bits in (one for one in [*given, 4, 8] if isinstance(one, int) and 2 <= one <= 8):
        if -(-columns * bits // 32) == words:
            return bits, True
        if -(-columns // (32 // bits)) == words:
            return bits, False
    return 0, True


def whole_bytes(source: MappedArchive, name: str, said: Config) -> Made | None:
    """compressed-tensors' int-quantized: a signed byte a weight, one scale for all or for each row."""
    entry = source.tensors[name]
    if entry.type != "I8" or not name.endswith(".weight") or f"{name}_scale" not in source.tensors:
        return None
    if f"{name}_zero_point" in source.tensors:
        zero = source.tensors[f"{name}_zero_point"]
        need(not bytes(source.data(zero.name)).strip(b"\0"), source, zero.name, "holds zeros that are none")
    need(len(entry.shape) == 2, source, name, f"is {entry.shape}, needed is a matrix")
    rows, columns = entry.shape
    scales = part_of(source, f"{name}_scale", _FLOATS).astype(np.float32)
    need(scales.size in (1, rows), source, f"{name}_scale", f"is {scales.shape}, needed: one scale, or one for a row")
    by_row = np.broadcast_to(scales.reshape(-1, 1), (rows, 1))
    raw = part_of(source, name, ("I8",))
    kind = holding_type(-128, 127, source.tensors[f"{name}_scale"].type, columns, half=fits_half(scales))
    centre = np.full((rows, 1), 128)  # the bytes are read as 128 more than they are
    made = Codes(entry.shape, kind, unpack.BYTES, 8, raw, lambda: (centre, by_row), None, columns)
    return name, made, [f"{name}_scale", f"{name}_zero_point"]
