"""Open the weights of folders that other programs have quantized: which tensors belong together, and what they make.

The formulas are in formats/packed.py. What a folder says of its activations does not matter here: they keep what
precision they have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacos import quants
from pacos.errors import UnsupportedModel
from pacos.formats.mapped import MADE_IN_MEMORY, MappedArchive
from pacos.formats.packed import Eights, FourBitFloats, Packed, Rounded, Ternary, eight_bit_floats, rows_of
from pacos.hub.hf_files import read_json_if_there, well_formed
from pacos.hub.quantized_codes import Made, array_of, compressed, gptq_or_awq, need, part_of, whole_bytes
from pacos.lazy import need_numpy, np
from pacos.types import TensorEntry

if TYPE_CHECKING:
    from pacos.quants.block import Bytes

Config = Mapping[str, Any]

METHODS = ("fp8", "fbgemm_fp8", "compressed-tensors", "gptq", "awq", "mxfp4", "bitnet")
_EIGHTS = ("F8_E4M3", "F8_E5M2")
_TILE = (128, 128)
_TERNARY_BLOCK = 256  # of TQ2_0
# Scales of activations and of the KV cache, which change no weight.
_OF_ACTIVATIONS = re.compile(
    r"(^|[._])(input_scale|input_scale_ub|input_zero_point|activation_scale|output_scale|qscale_act|[kvq]_scale|prob_output_scale)$"
)


class UnpackedArchive:
    """Tensors of a folder of which some are made when asked for, and not kept."""

    def __init__(self, source: MappedArchive, packed: Mapping[str, Packed], parts: set[str]) -> None:
        self.path: Path = source.path
        self._source = source
        self._packed = packed
        plain = {
            name: entry
            for name, entry in source.tensors.items()
            if name not in parts and not _OF_ACTIVATIONS.search(name)
        }
        self.tensors: Mapping[str, TensorEntry] = {**plain, **{name: _entry(name, one) for name, one in packed.items()}}
        self.warnings = [one for one in source.warnings if "listed only" not in one]

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor."""
        if name not in self._packed:
            return self._source.data(name)
        return self.rows(name, self.tensors[name].type).reshape(-1).data

    def rows(self, name: str, kind: str) -> Bytes:
        """A packed tensor as rows of its own type, or of floats. Shapes: [all rows, bytes of a row]."""
        return rows_of(self._packed[name], kind)

    def address(self, name: str) -> int:
        """Address of the first byte of a tensor that lies in a file."""
        return self._source.address(name)

    def close(self) -> None:
        """Release the files."""
        self._source.close()


def _entry(name: str, packed: Packed) -> TensorEntry:
    nbytes = math.prod(packed.shape[:-1]) * quants.row_bytes(packed.kind, packed.shape[-1])
    return TensorEntry(name, packed.shape, packed.kind, MADE_IN_MEMORY, 0, nbytes)


def unpacked(source: MappedArchive, folder: Path, config: Config) -> MappedArchive | UnpackedArchive:
    """The weights as they are, or unpacked where config.json or the tensors say that they are quantized.

    Errors: UnsupportedModel naming the method and those that are read; FormatError for tensors that do not fit.
    """
    said = _quantization(folder, config)
    method = said.get("quant_method")
    if method is not None and method not in METHODS:
        hint = f"supported: {', '.join(METHODS)}; or get the unquantized model, or GGUF"
        raise UnsupportedModel(f"{folder}: the weights are quantized by {method!a}", hint=hint)
    found: dict[str, tuple[Packed, list[str]]] = {}
    makers = (gptq_or_awq, compressed, _mxfp4, _ternary, _eights, whole_bytes)
    with well_formed(f"{folder}: what it says of its quantization"):
        for name, entry in source.tensors.items():
            made = next((one for maker in makers if (one := maker(source, name, said)) is not None), None)
            if made is not None and entry.nbytes:
                found[made[0]] = made[1:]
    if not found:
        return source
    need_numpy("a folder of quantized weights")
    parts = {part for _, names in found.values() for part in names}
    return UnpackedArchive(source, _alike({name: packed for name, (packed, _) in found.items()}), parts)


def _quantization(folder: Path, config: Config) -> dict[str, Any]:
    """What the folder says of its quantization; older programs wrote a file of their own."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if isinstance(place.get(key), dict):
                said = dict(place[key])
                if "quant_method" not in said and "bits" in said:
                    said["quant_method"] = "gptq"
                return said
    if old := read_json_if_there(folder / "quantize_config.json"):
        return {"quant_method": "gptq", **old}
    if old := read_json_if_there(folder / "quant_config.json"):
        return {"quant_method": "awq", **old}
    return {}


def _alike(packed: Mapping[str, Packed]) -> dict[str, Packed]:
    """Tensors that differ by their numbers alone, such as experts, get one type: the first that holds all of them."""
    ranks = ("Q4_0", "Q5_0", "Q8_0")
    groups: dict[str, list[str]] = {}
    for name in packed:
        groups.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    found = dict(packed)
    for names in groups.values():
        kinds = {packed[name].kind for name in names}
        if len(kinds) > 1:
            floats = [kind for kind in kinds if kind not in ranks]
            kind = ("F32" if len(floats) > 1 else floats[0]) if floats else max(kinds, key=ranks.index)
            for name in names:
                found[name] = _retyped(packed[name], kind)
    return found


def _retyped(packed: Packed, kind: str) -> Packed:
    changed: Packed = replace(packed, kind=kind)
    return changed


def _mxfp4(source: MappedArchive, name: str, said: Config) -> Made | None:
    """gpt-oss: blocks of 16 bytes and their exponents, under the name that the family knows them by."""
    if not name.endswith("_blocks") or said.get("quant_method") != "mxfp4":
        return None
    codes = part_of(source, name, ("U8",))
    scales = f"{name.removesuffix('_blocks')}_scales"
    exponents = part_of(source, scales, ("U8",), codes.shape[:-1])
    need(codes.ndim >= 3 and codes.shape[-1] == 16, source, name, f"is {codes.shape}, needed are blocks of 16 bytes")
    shape = (*codes.shape[:-2], codes.shape[-2] * 32)
    packed = FourBitFloats(shape, "MXFP4", codes.reshape(-1, *codes.shape[-2:]), exponents.reshape(-1, codes.shape[-2]))
    return name, packed, [scales]


def _ternary(source: MappedArchive, name: str, said: Config) -> Made | None:
    """BitNet: four rows in one byte and a scale, which some divide by; or floats that are rounded when they are used.

    Source: transformers' integrations/bitnet.py.
    """
    entry = source.tensors[name]
    if said.get("quant_method") != "bitnet" or len(entry.shape) != 2 or not name.endswith("_proj.weight"):
        return None
    if said.get("use_rms_norm"):
        problem = f"{source.path}: quantization_config.use_rms_norm is true"
        raise UnsupportedModel(problem, hint="norms within BitNet's matrices are not computed; get GGUF")
    kind = "TQ2_0" if entry.shape[1] % _TERNARY_BLOCK == 0 else "F32"
    if said.get("quantization_mode") == "online":
        return name, Rounded(entry.shape, kind, lambda: array_of(source, name).astype(np.float32)), []
    codes = part_of(source, name, ("U8",))
    scale_name = f"{name}_scale"
    scales = part_of(source, scale_name, ("F32", "F16", "BF16")).astype(np.float32).reshape(-1)
    need(len(scales) == 1 and scales[0] != 0, source, scale_name, f"holds {len(scales)} numbers, needed is one")
    step = float(scales[0] if said.get("linear_class") == "autobitlinear" else 1 / scales[0])
    return name, Ternary((4 * codes.shape[0], codes.shape[1]), kind, codes, step), [scale_name]


def _scale_names(name: str) -> Iterator[str]:
    yield from (f"{name}_scale_inv", f"{name}_scale", f"{name.removesuffix('weight')}qscale_weight")


def _eights(source: MappedArchive, name: str, said: Config) -> Made | None:
    """Floats of eight bits, with one scale, one for each row, or one for each tile; or with none."""
    entry = source.tensors[name]
    if entry.type not in _EIGHTS or any(part in name for part in ("_scale", "qscale")):
        return None
    need(len(entry.shape) >= 2, source, name, f"is {entry.type} {entry.shape}, needed is a matrix")
    scale_name = next((one for one in _scale_names(name) if one in source.tensors), None)
    *heads, rows, columns = entry.shape
    scales, tile = np.ones((1, 1), np.float32), (rows, columns)
    if scale_name is not None:
        scales = part_of(source, scale_name, ("F32", "F16", "BF16", "F8_E8M0")).astype(np.float32)
        tile = _tile(scales.shape, (rows, columns), len(heads), said)
    count = math.prod(heads)
    wanted = (-(-rows // tile[0]), -(-columns // tile[1]))
    fits = scales.size in (1, count * wanted[0] * wanted[1])
    need(fits, source, scale_name or name, f"is {scales.shape}, which does not fit {entry.shape}")
    if scales.size == 1:
        scales = scales.reshape(1, 1).repeat(count * wanted[0], axis=0).repeat(wanted[1], axis=1)
    raw = np.frombuffer(source.data(name), np.uint8).reshape(-1, columns)
    made = Eights(
        entry.shape, "BF16", raw, eight_bit_floats(entry.type), scales.reshape(count * wanted[0], wanted[1]), tile
    )
    return name, made, [scale_name] if scale_name else []


def _tile(shape: tuple[int, ...], matrix: tuple[int, int], heads: int, said: Config) -> tuple[int, int]:
    """The rows and columns that share a scale."""
    rows, columns = matrix
    inner = shape[heads:] if len(shape) > heads else ()
    if math.prod(inner) == 1:
        return matrix
    if inner in ((rows,), (rows, 1)):
        return 1, columns
    given = said.get("weight_block_size") or next(
        (
            group["weights"].get("block_structure")
            for group in (said.get("config_groups") or {}).values()
            if isinstance(group, dict) and isinstance(group.get("weights"), dict)
        ),
        None,
    )
    if isinstance(given, list) and len(given) == 2 and all(isinstance(one, int) and one > 0 for one in given):
        return given[0], given[1]
    return _TILE
