"""Write a GGUF model with adapters merged into its weights, each tensor in the type that it has.

Source: llama.cpp's tools/export-lora for the arithmetic: w + scale * alpha / rank * B A, in f32; DoRA: hub/dora.py.
Shapes: N rows of a tensor, D columns, r rank, X experts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import UsageError
from pacos.formats import open_archive
from pacos.formats.gguf import GgufArchive
from pacos.formats.gguf_split import SPLIT_KEYS
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.hub.adapters import open_adapters
from pacos.hub.dora import gains
from pacos.lazy import need_numpy, np
from pacos.models import Hparams, plans_of
from pacos.models.adapters import EMBEDDING, OUTPUT, Adapter, Factor, Pair, check_fits
from pacos.types import TensorEntry

_PIECE_WEIGHTS = 1 << 22

Progress = Callable[[float], object]


def export_lora(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    lora: Sequence[str] = (),
    lora_scaled: Sequence[str] = (),
    outtype: str | None = None,
    progress: Progress | None = None,
    *,
    replace: bool = True,
) -> int:
    """Merge adapters into a GGUF file and give the size of the new one in bytes.

    What no adapter changes is copied; the rest keeps its type, or gets `outtype`. Where the embedding is the output too
    and an adapter changes one of both, the new file has them apart.
    Errors: UsageError for no adapter, a type that does not exist, or another file than GGUF; as `open_adapter`.
    """
    need_numpy("export-lora")
    if not lora and not lora_scaled:
        raise UsageError("there is no adapter", hint="give --lora FILE, or --lora-scaled FILE:SCALE")
    if Path(output).exists() and Path(output).samefile(source):
        raise UsageError(f"{output} is the source itself", hint="give another name for the output")
    kind = quants.block_format(outtype).name if outtype else None
    archive = open_archive(source)
    try:
        if not isinstance(archive, GgufArchive):
            raise UsageError(f"{source} is no GGUF file", hint="`pacos convert` makes one of it; merge into that")
        adapters = open_adapters(lora, lora_scaled, archive)
        hp = Hparams.from_metadata(archive.metadata, archive.tensors)
        check_fits(adapters, plans_of(archive, hp), archive.tensors)
        metadata = {key: value for key, value in archive.typed_metadata().items() if key not in SPLIT_KEYS}
        tensors = [_merged(archive, name, entry, adapters, kind) for name, entry in _entries(archive, adapters)]
        return write_gguf(output, metadata, _counted(tensors, progress), replace=replace)
    finally:
        archive.close()


def _entries(archive: GgufArchive, adapters: Sequence[Adapter]) -> Iterator[tuple[str, TensorEntry]]:
    """Names of the new file's tensors, and the tensors that they are made of."""
    yield from archive.tensors.items()
    if OUTPUT not in archive.tensors and any({OUTPUT, EMBEDDING} & {*one.pairs, *one.wholes} for one in adapters):
        yield OUTPUT, archive.tensors[EMBEDDING]


def _merged(
    archive: GgufArchive, name: str, entry: TensorEntry, adapters: Sequence[Adapter], wanted: str | None
) -> TensorData:
    pairs = [(one.scale, one.pairs[name]) for one in adapters if name in one.pairs]
    wholes = [(one.scale, one.wholes[name]) for one in adapters if name in one.wholes]
    if not pairs and not wholes:
        return TensorData(name, entry.shape, entry.type, lambda: archive.data(entry.name))
    kind = wanted if wanted and entry.shape[-1] % quants.block_format(wanted).block == 0 else entry.type

    def make() -> Iterator[bytes]:
        data, at = archive.data(entry.name), 0
        for rows, low in _low_ranks(pairs, name, entry.shape):
            w = _piece(entry.type, data, at, rows, entry.shape[-1])
            changes = [
                np.float32(scale) * (_piece(one.type, one.data, at, rows, entry.shape[-1]) - w) for scale, one in wholes
            ]
            at += rows
            yield quants.quantize(kind, w + sum(_change(w, *one) for one in low) + sum(changes))

    return TensorData(name, entry.shape, kind, make)


def _piece(kind: str, data: Any, begin: int, rows: int, columns: int) -> Any:
    """Some rows of a tensor, all matrices one behind the other."""
    row_bytes = quants.row_bytes(kind, columns)
    return quants.dequantize(kind, data[begin * row_bytes : (begin + rows) * row_bytes], (rows, columns))


def _change(w: Any, scale: float, delta: Any, magnitudes: Any) -> Any:
    """What an adapter changes of some rows. DoRA's give them the lengths of theirs, so w changes too."""
    if magnitudes is None:
        return np.float32(scale) * delta
    return np.float32(scale) * (gains(w + delta, magnitudes)[:, None] * (w + delta) - w)


def _low_ranks(
    pairs: Sequence[tuple[float, Pair]], name: str, shape: tuple[int, ...]
) -> Iterator[tuple[int, list[tuple[float, Any, Any]]]]:
    """Some rows of a tensor after the other, all experts one behind the other.

    How many rows, and for each pair its scale, alpha over rank times B A, and its magnitudes.
    """
    *stack, rows, columns = shape if len(shape) > 1 else (1, *shape)
    step = max(1, _PIECE_WEIGHTS // columns)
    factors = [(scale, np.float32(one.factor) * _values(one.b), _values(one.a), one) for scale, one in pairs]
    if name == EMBEDDING:  # A has a row for each token, B one for each column
        factors = [(scale, a, b.T, one) for scale, b, a, one in factors]
    for expert in range(stack[0] if stack else 1):
        for begin in range(0, rows, step):
            end = min(rows, begin + step)
            low = []
            for scale, b, a, one in factors:
                one_b, one_a = (b[expert], a[expert]) if stack else (b, a)
                lengths = None if one.magnitudes is None else _values(one.magnitudes)[begin:end]
                low.append((scale, one_b[begin:end] @ one_a, lengths))
            yield end - begin, low


def _values(factor: Factor) -> Any:
    return quants.dequantize(factor.type, factor.data, factor.shape)


def _counted(tensors: Sequence[TensorData], progress: Progress | None) -> Iterator[TensorData]:
    """The same tensors; the share of them that is done is told when the next one's turn comes."""

    def told(tensor: TensorData, share: float) -> Callable[[], Any]:
        def read() -> Any:
            if progress is not None:
                progress(share)
            return tensor.data() if callable(tensor.data) else tensor.data

        return read

    for number, tensor in enumerate(tensors):
        yield tensor._replace(data=told(tensor, (number + 1) / len(tensors)))
