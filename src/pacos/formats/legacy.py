"""Read Llama models from before GGUF: GGML without a version, GGMF 1, and GGJT 1 to 3, also in several parts.

Weights that are laid out as today stay mapped, others are laid out anew in memory at first use. What the header lacks
is taken from the tensors (hidden width, key heads) or is what all models of the time had (context, epsilon, rotary
base).
Files with a vocabulary and no tensors open too, for tokenizing.
Source: llama.cpp's llama-util.h, llama.cpp and convert-pth-to-ggml.py of March to August 2023.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, ModelNotFound, UnsupportedModel
from pacos.formats import gguf_types as gt
from pacos.formats.container import Container
from pacos.formats.cursor import DAMAGED, INCOMPLETE, Cursor
from pacos.formats.legacy_blocks import BLOCK, old_block, todays_blocks
from pacos.formats.llama_files import LlamaShape, gguf_name, shape_of_tensors, vocabulary_metadata
from pacos.formats.mapped import MADE_IN_MEMORY, MappedArchive, MappedFile
from pacos.formats.wording import shown
from pacos.lazy import need_numpy, np
from pacos.types import TensorEntry

_MAGICS = {b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT"}
_VERSIONS = {"GGML": (0,), "GGMF": (1,), "GGJT": (1, 2, 3)}
_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0"}
_K_TYPES = {10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K"}  # of GGJT 3
_REMOVED = {4: "Q4_2", 5: "Q4_3", 9: "Q8_1"}
_ALIGNMENT = 32  # of tensors in GGJT
_CONTEXT_TOKENS = 2048
_NORM_EPSILON = 5e-6  # the value of llama.cpp for these files; Meta's models have 1e-6 or 1e-5
_MAX_PIECE_BYTES = 65_535
_MAX_PARTS = 16
_UNKNOWN_PIECE = b"\5\0\0\0" + " \u2047 ".encode()
_BARE_BYTES = 4 + len(_UNKNOWN_PIECE)
_BY_COLUMNS = ("tok_embeddings.weight", "attention.wo.weight", "feed_forward.w2.weight")


@dataclass(frozen=True, slots=True)
class _Header:
    """Family, version and sizes as the file says (0 where it holds a vocabulary alone), and the vocabulary."""

    family: str
    version: int
    width: int
    heads: int
    layers: int
    rotary: int
    pieces: list[bytes]
    scores: list[float] | None

    @property
    def layout(self) -> int:
        """The version of GGJT whose blocks these are."""
        return self.version if self.family == "GGJT" else 0


class LegacyArchive(MappedArchive):
    """A model of the year 2023, presented in GGUF's words."""

    def __init__(self, path: Path, files: Sequence[MappedFile], family: str, version: int, *rest: Any) -> None:
        super().__init__(path, files, *rest)
        self.format = f"{family} {version}" if version else family


def read_legacy(path: str | os.PathLike[str]) -> LegacyArchive:
    """Open a GGML, GGMF or GGJT file of a Llama model; of several parts, the first.

    Errors: ModelNotFound when a part is missing; FormatError; UnsupportedModel for a type that ggml has removed.
    """
    given = Path(path)
    files = [MappedFile(given)]
    try:
        cursor = Cursor(files[0])
        header = _read_header(cursor)
        parts = [_read_tensors(cursor, header, 0)]
        for number in range(1, _part_count(files[0], header, parts[0]) if parts[0] else 1):
            part = given.with_name(f"{given.name}.{number}")
            if not part.exists():
                raise ModelNotFound(f"{shown(part)}: this part of the model is missing", hint="put it beside the first")
            files.append(MappedFile(part))
            parts.append(_read_part(files[number], header, number))
        tensors, makers, unused = _joined(files, header, parts)
        metadata = _metadata(given, files[0].shown, header, tensors)
        warnings = [f"{files[0].shown}: tensor {shown(name)} is not used by llama" for name in unused]
        return LegacyArchive(given, files, header.family, header.version, metadata, tensors, warnings, makers)
    except BaseException:
        for file in files:
            file.close()
        raise


def _read_header(cursor: Cursor) -> _Header:
    """Sizes and vocabulary. Errors: FormatError."""
    cursor.wide = False
    if _is_bare(bytes(cursor.view[:_BARE_BYTES])):
        return _Header("GGML", 0, 0, 0, 0, 0, *_read_vocabulary(cursor, cursor.u32(), scored=True))
    family = _MAGICS[bytes(cursor.view[cursor.take(4) : 4])]
    version = cursor.u32() if family != "GGML" else 0
    if version not in _VERSIONS[family]:
        wanted = " to ".join(map(str, sorted({_VERSIONS[family][0], _VERSIONS[family][-1]})))
        raise cursor.error(f"version {version} of {family}, needed is {wanted}", DAMAGED)
    vocab, width, multiple, heads, layers, rotary, _ = (cursor.number("i") for _ in range(7))
    if multiple < 1:
        raise cursor.error(f"rows of the feed-forward network in multiples of {multiple}", DAMAGED)
    for name, value, limit in (
        ("tokens", vocab, gt.MAX_ARRAY_ELEMENTS),
        ("widths", width, 1 << 20),
        ("heads", heads, 1 << 14),
        ("layers", layers, 1024),
        ("rotary dimensions", rotary, width // max(heads, 1)),
    ):
        if not 0 < value <= limit:
            raise cursor.error(f"{value} {name}, needed are 1 to {limit}", DAMAGED)
    pieces, scores = _read_vocabulary(cursor, vocab, scored=family != "GGML")
    return _Header(family, version, width, heads, layers, rotary, pieces, scores)


def _read_vocabulary(cursor: Cursor, count: int, *, scored: bool) -> tuple[list[bytes], list[float] | None]:
    pieces: list[bytes] = []
    scores: list[float] = []
    for token in range(count):
        cursor.where = f"token {token} of {count}"
        pieces.append(cursor.string(_MAX_PIECE_BYTES, "a token"))
        if scored:
            scores.append(cursor.number("f"))
    return pieces, scores if scored else None


def _read_part(file: MappedFile, first: _Header, number: int) -> dict[str, TensorEntry]:
    cursor = Cursor(file)
    if bytes(cursor.view[:4]) not in _MAGICS:
        raise FormatError(f"{file.shown}: not a part of a {first.family} model", hint="download it again")
    header = _read_header(cursor)
    if header != first:
        raise FormatError(f"{file.shown}: its header is another than the first part's", hint="parts of two models?")
    return _read_tensors(cursor, header, number)


def _read_tensors(cursor: Cursor, header: _Header, part: int) -> dict[str, TensorEntry]:
    """The tensors up to the end of the file, under their own names, each proved to lie inside."""
    found: dict[str, TensorEntry] = {}
    while cursor.at < cursor.size:
        cursor.where = f"the header of tensor {len(found) + 1}"
        dimensions, length, number = (cursor.number("i") for _ in range(3))
        if dimensions not in (1, 2) or not 0 < length <= gt.MAX_TENSOR_NAME_BYTES:
            raise cursor.error(f"{dimensions} dimensions and a name of {length} bytes", DAMAGED)
        shape = tuple(reversed([cursor.number("i") for _ in range(dimensions)]))
        start = cursor.take(length)
        name = bytes(cursor.view[start : cursor.at]).decode("utf-8", "surrogateescape")
        cursor.where = f"tensor {shown(name)}"
        if name in found or not name.isprintable() or min(shape) < 1:
            raise cursor.error(f"its name appears twice or cannot be printed, or its shape is {shape}", DAMAGED)
        kind, nbytes = _size(cursor, header, number, shape)
        if header.family == "GGJT":
            cursor.take(-cursor.at % _ALIGNMENT)
        found[name] = TensorEntry(name, shape, kind, part, cursor.take(nbytes), nbytes)
    return found


def _size(cursor: Cursor, header: _Header, number: int, shape: tuple[int, ...]) -> tuple[str, int]:
    """Type and bytes of a tensor as it lies in the file."""
    kind = (_TYPES | _K_TYPES if header.layout == 3 else _TYPES).get(number)
    if kind is None:
        what = f"of type {number} ({_REMOVED[number]})" if number in _REMOVED else f"of the unknown type {number}"
        problem = f"{cursor.file.shown}: {cursor.where} is {what}, in {header.family} {header.version}"
        raise UnsupportedModel(problem, hint="get the model in another quantisation, best as GGUF")
    old, today = old_block(kind, header.layout), gt.TENSOR_TYPES_BY_NAME[kind]
    block, nbytes = (BLOCK, old.nbytes) if old else (today.block, today.block_bytes)
    if shape[-1] % block:
        raise cursor.error(f"rows of {shape[-1]} weights are not whole {kind} blocks of {block}", DAMAGED)
    return kind, prod(shape) // block * nbytes


def _part_count(file: MappedFile, header: _Header, tensors: dict[str, TensorEntry]) -> int:
    """How many files the model has: each holds that part of the embedding's columns."""
    width = shape_of_tensors(file.shown, tensors, "tok_embeddings.weight", 1)
    if header.width % width or header.width // width > _MAX_PARTS:
        problem = f"{file.shown}: embeddings of {width} columns in a model of width {header.width}"
        raise FormatError(problem, hint=INCOMPLETE.format(file.size))
    return header.width // width


def _joined(
    files: list[MappedFile], header: _Header, parts: list[dict[str, TensorEntry]]
) -> tuple[dict[str, TensorEntry], dict[str, Callable[[], Any]], list[str]]:
    """The tensors under GGUF's names, what makes those that are not as they lie in a file, and the names of others."""
    tensors: dict[str, TensorEntry] = {}
    makers: dict[str, Callable[[], Any]] = {}
    unused = []
    for name, first in parts[0].items():
        wanted = gguf_name(name)
        if wanted is None:
            unused.append(name)
            continue
        pieces = [first]
        if len(first.shape) == 2:
            pieces = [_same(file, part, first) for file, part in zip(files, parts, strict=True)]
        columns = len(pieces) if name.endswith(_BY_COLUMNS) else 1
        shape = (
            (first.shape[0] * (len(pieces) // columns), first.shape[1] * columns) if len(pieces) > 1 else first.shape
        )
        if len(pieces) == 1 and old_block(first.type, header.layout) is None:
            tensors[wanted] = TensorEntry(wanted, shape, first.type, 0, first.offset, first.nbytes)
            continue
        kind = gt.TENSOR_TYPES_BY_NAME[first.type]
        nbytes = prod(shape) // kind.block * kind.block_bytes
        tensors[wanted] = TensorEntry(wanted, shape, first.type, MADE_IN_MEMORY, 0, nbytes)
        makers[wanted] = _maker(files, pieces, header.layout, by_columns=columns > 1)
    return tensors, makers, unused


def _same(file: MappedFile, part: dict[str, TensorEntry], first: TensorEntry) -> TensorEntry:
    entry = part.get(first.name)
    if entry is None or (entry.shape, entry.type) != (first.shape, first.type):
        problem = f"{file.shown}: tensor {shown(first.name)} is missing, or another than in the first part"
        raise FormatError(problem, hint="parts of two models?")
    return entry


def _maker(
    files: Sequence[MappedFile], pieces: list[TensorEntry], layout: int, *, by_columns: bool
) -> Callable[[], Any]:
    views = [files[piece.part].view[piece.offset : piece.offset + piece.nbytes] for piece in pieces]
    old = old_block(pieces[0].type, layout)

    def make() -> Any:
        need_numpy("a model in several parts or old blocks")
        laid = [todays_blocks(view, old) if old else np.frombuffer(view, np.uint8) for view in views]
        rows = [one.reshape(pieces[0].shape[0], -1) for one in laid]
        return np.ascontiguousarray(np.concatenate(rows, axis=1 if by_columns else 0))

    return make


def _metadata(path: Path, where: str, header: _Header, tensors: dict[str, TensorEntry]) -> dict[str, Any]:
    vocabulary = vocabulary_metadata(header.pieces, header.scores)
    if not tensors:
        return {"general.architecture": "llama", "general.name": path.stem, **vocabulary}
    head_width = header.width // header.heads
    shape = LlamaShape(
        width=header.width,
        hidden=shape_of_tensors(where, tensors, "blk.0.ffn_gate.weight", 0),
        layers=header.layers,
        heads=header.heads,
        key_heads=max(1, shape_of_tensors(where, tensors, "blk.0.attn_k.weight", 0) // head_width),
        context=_CONTEXT_TOKENS,
        vocab=len(header.pieces),
    )
    shape.check(where)
    return {
        **shape.metadata(path.stem, _NORM_EPSILON),
        "llama.rope.dimension_count": header.rotary,
        **vocabulary,
    }


def _is_bare(head: bytes) -> bool:
    """Whether it is a vocabulary without magic number and sizes: a count, and SentencePiece's unknown piece."""
    return head[4:] == _UNKNOWN_PIECE


CONTAINER = Container(
    "GGML, GGMF and GGJT", lambda head, path: head[:4] in _MAGICS or _is_bare(head[:_BARE_BYTES]), read_legacy
)
