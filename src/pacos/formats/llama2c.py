"""Read the `.bin` files of llama2.c: version 0 (F32, no magic number), 1 (F32) and 2 (groups of 8-bit weights).

The vocabulary is a file of its own: `tokenizer.bin`, or the model's name with `.tokenizer.bin`, in the same folder.
Source: llama2.c's run.c, runq.c and export.py.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from pacos.errors import FormatError
from pacos.formats.container import Container
from pacos.formats.cursor import DAMAGED, INCOMPLETE, Cursor
from pacos.formats.llama_files import LlamaShape, numbers_alone, vocabulary_metadata
from pacos.formats.mapped import MADE_IN_MEMORY, MappedArchive, MappedFile
from pacos.formats.wording import sized
from pacos.lazy import need_numpy, np
from pacos.types import TensorEntry

_MAGIC = b"24ka"
_HEADER_BYTES = 256  # of versions 1 and 2
_SIZES = struct.Struct("<7i")
_Q8_0_BLOCK, _Q8_0_BYTES = 32, 34
_MAX_PIECE_BYTES = 4096
_GGUF_ORDER = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    shape: LlamaShape
    tied: bool
    group: int  # weights under one scale, in version 2
    data: int  # where the weights start


class Llama2cArchive(MappedArchive):
    """A llama2.c model, presented in GGUF's words."""

    def __init__(self, path: Path, files: list[MappedFile], version: int, *rest: Any) -> None:
        super().__init__(path, files, *rest)
        self.format = f"llama2.c {version}"


def read_llama2c(path: str | os.PathLike[str]) -> Llama2cArchive:
    """Open a model of llama2.c. Errors: ModelNotFound, FormatError."""
    given = Path(path)
    file = MappedFile(given)
    try:
        header = _read_header(file.view, file.size, file.shown)
        tensors, makers = _tensors(file, header)
        vocabulary, warnings = _vocabulary(given, header.shape.vocab)
        metadata = header.shape.metadata(given.stem) | vocabulary
        return Llama2cArchive(given, [file], header.version, metadata, tensors, warnings, makers)
    except BaseException:
        file.close()
        raise


def _read_header(head: memoryview | bytes, size: int, where: str) -> _Header:
    """Errors: FormatError when the sizes cannot be a model's, or the file is not as long as they say."""
    magic = bytes(head[:4]) == _MAGIC
    version = int.from_bytes(head[4:8], "little") if magic else 0
    if magic and version not in (1, 2):
        raise FormatError(f"{where}: version {version} of llama2.c's format, needed is 1 or 2", hint=DAMAGED)
    start = 8 if magic else 0
    if len(head) < (_HEADER_BYTES if magic else _SIZES.size):
        raise FormatError(f"{where}: the file ends inside its header", hint=INCOMPLETE.format(size))
    width, hidden, layers, heads, key_heads, vocab, context = _SIZES.unpack_from(head, start)
    tied = head[start + _SIZES.size] == 1 if magic else vocab > 0
    group = int.from_bytes(head[start + _SIZES.size + 1 : start + _SIZES.size + 5], "little") if version == 2 else 0
    vocab = vocab if magic else abs(vocab)
    shape = LlamaShape(width, hidden, layers, heads, key_heads, context, vocab)
    shape.check(where)
    if version == 2 and (group < 1 or group % _Q8_0_BLOCK or any(row % group for row in (width, hidden))):
        problem = f"{where}: groups of {group} weights, needed: a multiple of {_Q8_0_BLOCK} that divides the rows"
        raise FormatError(problem, hint="export the model again with such groups")
    header = _Header(version, shape, tied, group, _HEADER_BYTES if magic else _SIZES.size)
    needed = header.data + sum(_nbytes(header, tensor) for tensor in _listed(header))
    if size != needed:
        raise FormatError(f"{where}: {sized(size)}, needed for its sizes: {needed}", hint=INCOMPLETE.format(size))
    return header


def _listed(header: _Header) -> Iterator[_Tensor]:
    """Every tensor of the file in its order."""
    s = header.shape
    keys = s.key_heads * (s.width // s.heads)
    rows = {"attn_q": s.width, "attn_k": keys, "attn_v": keys, "attn_output": s.width, "ffn_down": s.width}
    matrices = {part: (rows.get(part, s.hidden), s.hidden if part == "ffn_down" else s.width) for part in _GGUF_ORDER}

    def layers(part: str) -> Iterator[_Tensor]:
        for i in range(s.layers):
            yield _Tensor(f"blk.{i}.{part}.weight", matrices.get(part, (s.width,)))

    embedding, norm = _Tensor("token_embd.weight", (s.vocab, s.width)), _Tensor("output_norm.weight", (s.width,))
    if header.version == 0:
        yield embedding
        for part in ("attn_norm", *_GGUF_ORDER[:4], "ffn_norm", *_GGUF_ORDER[4:]):
            yield from layers(part)
        yield norm
        yield _Tensor("", (s.context, s.width // s.heads))  # cosines, then sines of rotary angles: computed here
    else:
        for part in ("attn_norm", "ffn_norm"):
            yield from layers(part)
        yield norm
        yield embedding
        for part in _GGUF_ORDER:
            yield from layers(part)
    if not header.tied:
        yield _Tensor("output.weight", (s.vocab, s.width))


def _nbytes(header: _Header, tensor: _Tensor) -> int:
    count = prod(tensor.shape)
    return count + 4 * (count // header.group) if header.group and len(tensor.shape) == 2 else 4 * count


def _tensors(file: MappedFile, header: _Header) -> tuple[dict[str, TensorEntry], dict[str, Callable[[], Any]]]:
    tensors: dict[str, TensorEntry] = {}
    makers: dict[str, Callable[[], Any]] = {}
    at = header.data
    for tensor in _listed(header):
        nbytes = _nbytes(header, tensor)
        if header.group and len(tensor.shape) == 2:
            made_bytes = prod(tensor.shape) // _Q8_0_BLOCK * _Q8_0_BYTES
            tensors[tensor.name] = TensorEntry(tensor.name, tensor.shape, "Q8_0", MADE_IN_MEMORY, 0, made_bytes)
            makers[tensor.name] = _q8_0_maker(file.view[at : at + nbytes], header.group)
        elif tensor.name:
            tensors[tensor.name] = TensorEntry(tensor.name, tensor.shape, "F32", 0, at, nbytes)
        at += nbytes
    return tensors, makers


def _q8_0_maker(raw: memoryview, group: int) -> Callable[[], Any]:
    """Groups of codes, then their F32 scales, as blocks of 32 codes under F16 scales."""

    def make() -> Any:
        need_numpy("a llama2.c file of version 2")
        count = len(raw) * group // (group + 4)
        codes = np.frombuffer(raw[:count], np.uint8).reshape(-1, _Q8_0_BLOCK)
        scales = np.frombuffer(raw[count:], "<f4").astype("<f2").repeat(group // _Q8_0_BLOCK)
        return np.concatenate([scales.view(np.uint8).reshape(-1, 2), codes], axis=1)

    return make


def _vocabulary(path: Path, vocab: int) -> tuple[dict[str, Any], list[str]]:
    """The vocabulary beside the model, or numbers for tokens and a warning."""
    for candidate in (path.with_suffix(".tokenizer.bin"), path.with_name("tokenizer.bin")):
        if candidate.is_file():
            return _read_vocabulary(candidate, vocab), []
    warning = f"{path}: there is no tokenizer.bin beside it, so it takes and gives token numbers only"
    return numbers_alone(vocab), [warning]


def _read_vocabulary(path: Path, vocab: int) -> dict[str, Any]:
    file = MappedFile(path)
    try:
        cursor = Cursor(file)
        cursor.wide = False
        cursor.u32()  # the longest piece
        pieces, scores = [], []
        for token in range(vocab):
            cursor.where = f"token {token} of {vocab}"
            scores.append(cursor.number("f"))
            pieces.append(cursor.string(_MAX_PIECE_BYTES, "a token"))
        if cursor.at != cursor.size:
            raise cursor.error(f"{cursor.size - cursor.at} bytes behind the {vocab} tokens", "another model's file?")
        return vocabulary_metadata(pieces, scores)
    finally:
        file.close()


def _recognises(head: bytes, path: Path) -> bool:
    """Whether it says so, or, of version 0, is exactly as long as its sizes say."""
    if head[:4] == _MAGIC:
        return True
    try:
        return bool(head) and _read_header(head, os.stat(path).st_size, str(path)).version == 0
    except (FormatError, OSError):
        return False


CONTAINER = Container("llama2.c", _recognises, read_llama2c)
