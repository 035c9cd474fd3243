"""Write a Hugging Face folder, or a model file from before GGUF, as one GGUF file, tensor by tensor.

Source: llama.cpp's convert_hf_to_gguf.py: which tensors stay F32, and the order of Llama's query and key rows.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import UsageError
from pacos.formats import open_archive
from pacos.formats.gguf import GgufArchive
from pacos.formats.gguf_types import F32, I32, STRING
from pacos.formats.gguf_write import TensorData, tensor_bytes, write_gguf
from pacos.formats.mapped import MADE_IN_MEMORY
from pacos.hub.adopt import AdoptedArchive, described
from pacos.hub.file_types import FILE_TYPES, file_type_metadata
from pacos.hub.mixes import stays_float
from pacos.hub.opening import CONFIG_NAME, open_model
from pacos.hub.parts import grouped, write_parts
from pacos.hub.size_label import size_label
from pacos.lazy import np
from pacos.models import Hparams
from pacos.models.adapters import EMBEDDING, OUTPUT
from pacos.models.hparams import ROPE_STYLE_KEY
from pacos.models.tensor_names import QUERIES
from pacos.types import Archive, TensorEntry

OUTPUT_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0")
_TERNARY = ("TQ1_0", "TQ2_0")

# The types that readers expect, even of lists that are empty or hold whole numbers by chance.
_TYPED_LISTS = {
    "tokenizer.ggml.tokens": STRING,
    "tokenizer.ggml.merges": STRING,
    "tokenizer.ggml.scores": F32,
    "tokenizer.ggml.token_type": I32,
}

_PIECE_VALUES = 1 << 24

Progress = Callable[[float], object]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a file is to hold; the tensors' bytes are made when they are written."""

    metadata: Mapping[str, Any]
    tensors: Sequence[TensorData]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor_bytes(one.name, one.shape, one.type) for one in self.tensors)


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    outtype: str | None = None,
    progress: Progress | None = None,
    about: Mapping[str, Any] | None = None,
    *,
    replace: bool = True,
    vocab_only: bool = False,
    max_bytes: int = 0,
    max_tensors: int = 0,
) -> int:
    """Convert and give the bytes of the file, or of its parts; `progress` gets the share done, 0 to 1.

    Parts have at most so many bytes, or so many tensors, and the output's name. For the rest see `conversion`. Without
    `replace`, an output that is there stays.
    Errors: as `conversion`; UsageError for an output that is there.
    """
    with conversion(source, outtype, progress, about, vocab_only=vocab_only) as made:
        if not max_bytes and not max_tensors:
            return write_gguf(output, made.metadata, made.tensors, replace=replace)
        sizes = [tensor_bytes(one.name, one.shape, one.type) for one in made.tensors]
        parts = [[made.tensors[i] for i in numbers] for numbers in grouped(sizes, max_bytes, max_tensors)]
        return write_parts(output, made.metadata, parts, replace=replace)


@contextmanager
def conversion(
    source: str | os.PathLike[str],
    outtype: str | None = None,
    progress: Progress | None = None,
    about: Mapping[str, Any] | None = None,
    *,
    vocab_only: bool = False,
) -> Iterator[Conversion]:
    """What converting gives, while the model is open.

    Without `outtype`, matrices of a folder become F16; those that are quantized, and those of a file, keep their types.
    "auto" is F16 where the first matrix is, else BF16. `about` adds metadata or replaces it, such as `general.license`.
    `vocab_only` leaves the tensors out; a folder then needs no weights.

    Errors: UsageError for an unknown type or a GGUF file, and what opening the model raises.
    """
    if outtype is not None and outtype.upper() not in (*OUTPUT_TYPES, "AUTO"):
        hint = f"types: auto, {', '.join(OUTPUT_TYPES)}; `pacos quantize` makes the others"
        raise UsageError(f"cannot convert to {outtype!a}", hint=hint)
    if "general.architecture" in (about or {}):
        raise UsageError("general.architecture says how the tensors are used", hint="it cannot be another one")
    if vocab_only and (Path(source) / CONFIG_NAME).is_file():
        metadata = described(Path(source)).metadata
        yield Conversion(_metadata(metadata) | file_type_metadata(FILE_TYPES["F32"]) | {**(about or {})}, ())
        return
    archive = _opened(Path(source))
    try:
        kind = _kind(archive, outtype)
        dense = "F16" if isinstance(archive, AdoptedArchive) else ""
        types = {name: _target(entry, kind, dense) for name, entry in archive.tensors.items()}
        found = _metadata(archive.metadata) | file_type_metadata(FILE_TYPES[kind or _commonest(archive, types)])
        found |= {"general.size_label": size_label(archive.tensors)}
        hp = Hparams.from_metadata(archive.metadata, archive.tensors)
        total = sum(entry.nbytes for entry in archive.tensors.values()) or 1
        done = 0
        tensors = []
        for name, entry in archive.tensors.items():
            target = types[name]
            done += entry.nbytes
            tensors.append(
                TensorData(name, entry.shape, target, _pieces(archive, hp, name, target, done / total, progress))
            )
        yield Conversion(found | {**(about or {})}, () if vocab_only else tensors)
    finally:
        archive.close()


def _metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in given.items() if key != ROPE_STYLE_KEY} | {"general.type": "model"}
    return metadata | {key: typed(metadata[key]) for key, typed in _TYPED_LISTS.items() if key in metadata}


def _kind(archive: Archive, outtype: str | None) -> str | None:
    """The type that is asked for, None for those that the model has."""
    if outtype is None or outtype.upper() != "AUTO":
        return outtype.upper() if outtype is not None else None
    first = next((entry.type for entry in archive.tensors.values() if len(entry.shape) > 1), "F16")
    return "F16" if first == "F16" else "BF16"


def _opened(source: Path) -> Archive:
    if not source.is_file():
        return open_model(source)
    archive = open_archive(source)
    if "general.architecture" in archive.metadata and not isinstance(archive, GgufArchive):
        return archive
    archive.close()
    if isinstance(archive, GgufArchive):
        raise UsageError(f"{source} is a GGUF file already", hint="`pacos quantize` changes its types")
    raise UsageError(f"{source} is a file of weights alone", hint="give the folder with its config.json")


def _target(entry: TensorEntry, wanted: str | None, dense: str) -> str:
    """The type of a tensor in the file; without a wish, `dense` takes the place of types without blocks."""
    floats = entry.type in ("F32", "F16", "BF16")
    return stored_type(entry, wanted or (dense if floats and dense else entry.type))


def _commonest(archive: Archive, types: Mapping[str, str]) -> str:
    """The type of the most weights, which is the file's."""
    weights = Counter[str]()
    for name, entry in archive.tensors.items():
        weights[types[name]] += math.prod(entry.shape)
    found = weights.most_common(1)[0][0] if weights else "F32"
    return {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}.get(found, found)


def stored_type(entry: TensorEntry, wanted: str) -> str:
    """The type a tensor gets: what is small stays F32 (see mixes.py), rows that are no whole blocks become F16."""
    if len(entry.shape) == 1 or stays_float(entry.name):
        return "F32"
    if wanted in _TERNARY and entry.name in (EMBEDDING, OUTPUT):
        return "F16"
    return wanted if entry.shape[-1] % quants.block_format(wanted).block == 0 else "F16"


def _pieces(
    archive: Archive, hp: Hparams, name: str, target: str, share: float, progress: Progress | None
) -> Callable[[], Any]:
    entry = archive.tensors[name]
    origin = archive.origins.get(name) if isinstance(archive, AdoptedArchive) else None

    def make() -> Iterator[Any]:
        rotary = origin.name.rotary if origin is not None and archive.metadata.get(ROPE_STYLE_KEY) == "halves" else ""
        made = entry.part == MADE_IN_MEMORY and len(entry.shape) > 1  # the archive would keep what it makes
        if (
            entry.type == target
            and not rotary
            and (origin is None or not (origin.stacked or origin.name.changes or made))
        ):
            yield archive.data(name)
        elif isinstance(archive, AdoptedArchive) and origin is not None:
            for part in archive.pieces(name, target):
                rows = part.values
                if rotary:
                    layer = int(name.split(".")[1])
                    heads = (hp.heads if rotary == QUERIES else hp.key_heads)[layer]
                    by_row = rows.reshape(-1) if len(rows) == heads else rows  # a norm of each head is not one of rows
                    rows = paired_rows(by_row, heads, hp.rope.width).reshape(rows.shape)
                yield from _encoded_rows(rows, part.type, target)
        else:
            yield quants.quantize(target, quants.dequantize(entry.type, archive.data(name), entry.shape))
        if progress is not None:
            progress(share)

    return make


def _encoded_rows(rows: Any, kind: str, target: str) -> Iterator[bytes]:
    """The rows in the type's bytes, so many at a time that their f32 values stay small; cells are of type `kind`."""
    step = max(1, _PIECE_VALUES // max(1, math.prod(rows.shape[1:]))) if rows.ndim > 1 else len(rows)
    block = quants.block_format(kind)
    for begin in range(0, len(rows), max(1, step)):
        piece: Any = np.ascontiguousarray(rows[begin : begin + step])
        if kind == target:
            yield piece
        elif piece.dtype == np.float32:
            yield quants.quantize(target, piece)
        else:
            columns = piece.shape[-1] * piece.itemsize // block.block_bytes * block.block
            values = quants.dequantize(kind, memoryview(piece).cast("B"), (*piece.shape[:-1], columns))
            yield quants.quantize(target, values)


def paired_rows(rows: Any, heads: int, width: int) -> Any:
    """Move rows of rotary halves (i, i + width / 2) of each head to pairs (2 i, 2 i + 1).

    Shapes: [heads * E, ...] -> the same; the first `width` rows of each head move.
    """
    by_head = rows.reshape(heads, -1, *rows.shape[1:])
    turned = by_head[:, :width].reshape(heads, 2, width // 2, *rows.shape[1:]).swapaxes(1, 2)
    return np.concatenate([turned.reshape(heads, width, *rows.shape[1:]), by_head[:, width:]], axis=1).reshape(
        rows.shape
    )
