"""Open a Hugging Face folder as it is, presented in GGUF's vocabulary.

Nothing is converted on disk. Matrices stay where they are, mapped; vectors (small) are widened to F32 in memory, and
what GGUF stores otherwise (norms plus one, GPT-2's transposed matrices, experts in one stack) is made in memory at
first use. Rows of queries and keys stay in Hugging Face's order, so metadata says `pacos.rope.style` "halves" where
GGUF's is "pairs".
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacos import quants
from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.mapped import MADE_IN_MEMORY, MappedArchive
from pacos.hub.hf_files import read_json, well_formed
from pacos.hub.hf_pooling import MadeTensor, pooling_metadata, projection_metadata, projections
from pacos.hub.hf_tokenizer import tokenizer_metadata
from pacos.hub.opening import CONFIG_NAME
from pacos.hub.parallel_folder import parallel_weights
from pacos.hub.quantized_folder import UnpackedArchive, unpacked
from pacos.hub.weights import read_weights
from pacos.lazy import np
from pacos.models import HuggingFace, model_for_class
from pacos.models.hf_config import refuse_gaps, refuse_lost_factors
from pacos.models.hparams import ROPE_STYLE_KEY
from pacos.models.huggingface import UNNAMED_CLASSES
from pacos.models.tensor_names import NORM_ENDING, PLUS_ONE, TensorName
from pacos.native import address_of
from pacos.types import TensorEntry

_MATRIX_TYPES = ("F32", "F16", "BF16")
_HOLDERS = {"F32": "<f4", "F16": "<u2", "BF16": "<u2"}

Config = Mapping[str, Any]
Source = MappedArchive | UnpackedArchive


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor comes from: its names and changes, and the tensor of the folder, or one for each expert."""

    name: TensorName
    sources: tuple[str, ...]
    stacked: bool


@dataclass(frozen=True, slots=True)
class Cells:
    """A matrix in a type: numbers of 32 or 16 bits, or rows of a block type's bytes."""

    type: str
    values: Any


class AdoptedArchive:
    """A Hugging Face folder in GGUF's words; `origins` says where each tensor comes from."""

    def __init__(
        self,
        source: Source,
        config: Config,
        metadata: dict[str, Any],
        origins: Mapping[str, Origin],
        vectors: Mapping[str, list[float]],
        projections: Mapping[str, MadeTensor] | None = None,
    ) -> None:
        self.path: Path = source.path
        self.metadata: Mapping[str, Any] = metadata
        self.origins = origins
        self.warnings: list[str] = list(source.warnings)
        self._source = source
        self._config = config
        self._vectors = vectors
        self._projections = projections or {}
        self._made: dict[str, Any] = {}
        self.tensors: Mapping[str, TensorEntry] = {
            **{gguf: self._entry(gguf, origin) for gguf, origin in origins.items()},
            **{name: _made_entry(name, (len(values),), "F32") for name, values in vectors.items()},
            **{name: _made_entry(name, one.shape, "F32") for name, one in self._projections.items()},
        }

    def _entry(self, gguf: str, origin: Origin) -> TensorEntry:
        found = [self._source.tensors[name] for name in origin.sources]
        for one in found:
            if one.type not in _MATRIX_TYPES and one.part != MADE_IN_MEMORY:
                raise UnsupportedModel(
                    f"tensor '{one.name}' is of type {one.type}, supported: {', '.join(_MATRIX_TYPES)}"
                )
            if (one.shape, one.type) != (found[0].shape, found[0].type):
                raise FormatError(f"{self.path}: tensors '{found[0].name}' and '{one.name}' differ in form")
        first, name = found[0], origin.name
        try:
            shape = name.shape(first.shape, self._config)
        except (LookupError, ValueError, TypeError, ArithmeticError) as error:
            raise FormatError(
                f"{self.path}: tensor '{first.name}' of shape {first.shape} is not as expected"
            ) from error
        shape = (len(found), *shape) if origin.stacked else shape
        if len(shape) == 1 or gguf.endswith(NORM_ENDING) or not name.moves:
            return _made_entry(gguf, shape, "F32")
        if name.changes and first.type not in _MATRIX_TYPES and not name.keeps_rows(len(first.shape)):
            return _made_entry(gguf, shape, "BF16")
        if origin.stacked or name.changes or first.part == MADE_IN_MEMORY:
            return _made_entry(gguf, shape, first.type)
        return TensorEntry(gguf, shape, first.type, first.part, first.offset, first.nbytes)

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor. Errors: FormatError when the model has no such tensor."""
        if name not in self.tensors:
            raise FormatError(f"{self.path}: the model has no tensor {name!a}")
        if self.tensors[name].part != MADE_IN_MEMORY:
            return self._source.data(self.origins[name].sources[0])
        if name not in self._made:
            self._made[name] = self._make(name)
        return memoryview(self._made[name]).cast("B").toreadonly()

    def _make(self, name: str) -> Any:
        if name in self._vectors:
            return array("f", self._vectors[name])
        if name in self._projections:
            return self._projections[name].values
        origin = self.origins[name]
        changes = origin.name.changes
        if len(self.tensors[name].shape) == 1 and changes in {(), (PLUS_ONE,)}:  # most vectors; without numpy
            source = origin.sources[0]
            values = _as_f32(self._source.data(source), self._source.tensors[source].type)
            return array("f", (value + 1 for value in values)) if changes else values
        pieces = [_in_type(piece, self.tensors[name].type) for piece in self.pieces(name, self.tensors[name].type)]
        return np.ascontiguousarray(np.stack(pieces) if origin.stacked else pieces[0])

    def pieces(self, name: str, wanted: str) -> Iterator[Cells]:
        """What a tensor is made of, one expert's matrix at a time, with its changes.

        What is unpacked comes in the wanted type where that is its own or one of floats; what cannot, not rounded.
        Shapes: as the entry says, without the axis of experts.
        """
        origin, entry = self.origins[name], self.tensors[name]
        for source in origin.sources:
            there = self._source.tensors[source]
            kind, x = "F32", None
            if isinstance(self._source, UnpackedArchive) and there.part == MADE_IN_MEMORY:
                own = wanted == entry.type == there.type
                kind = wanted if origin.name.moves and (own or wanted in _MATRIX_TYPES) else "F32"
                raw = self._source.rows(source, kind)
                x = raw.view(_HOLDERS.get(kind, "u1")).reshape(*there.shape[:-1], -1)
            elif there.type == "F32" or entry.type != there.type:
                x = quants.dequantize(there.type, self._source.data(source), there.shape)
            else:
                kind, x = there.type, np.frombuffer(self._source.data(source), np.uint16).reshape(there.shape)
            for change in origin.name.changes:
                x = change.values(x, self._config)
            yield Cells(kind, x)

    def address(self, name: str) -> int:
        """Address of a tensor's first byte, valid until close()."""
        if name in self.tensors and self.tensors[name].part != MADE_IN_MEMORY:
            return self._source.address(self.origins[name].sources[0])
        return address_of(self.data(name))

    def close(self) -> None:
        """Release the files and what was made in memory."""
        self._made.clear()
        self._source.close()


def _in_type(piece: Cells, kind: str) -> Any:
    return piece.values if piece.type == kind else np.frombuffer(quants.quantize(kind, piece.values), np.uint8)


def _made_entry(name: str, shape: tuple[int, ...], kind: str) -> TensorEntry:
    count = 1
    for size in shape:
        count *= size
    nbytes = count * (4 if kind == "F32" else 2)
    if kind not in _MATRIX_TYPES:
        nbytes = count // shape[-1] * quants.row_bytes(kind, shape[-1])
    return TensorEntry(name, shape, kind, MADE_IN_MEMORY, 0, nbytes)


@dataclass(frozen=True, slots=True)
class Described:
    """What the files of a folder say beside its weights."""

    architecture: str
    form: HuggingFace
    config: Mapping[str, Any]
    metadata: dict[str, Any]
    vectors: Mapping[str, list[float]]


def described(folder: Path) -> Described:
    """Read config.json and the tokenizer of a folder.

    Errors: ModelNotFound when a file is missing; FormatError; UnsupportedModel for class, activation or tokenizer.
    """
    config = read_json(folder / CONFIG_NAME)
    unnamed = [name for key, name in UNNAMED_CLASSES.items() if key in config]
    classes = config.get("architectures") or unnamed
    if not isinstance(classes, list) or not classes or not isinstance(classes[0], str):
        raise FormatError(f"{folder / CONFIG_NAME}: architectures is {classes!a}, needed: a list with a class name")
    entry, hf = model_for_class(classes[0], config)
    metadata: dict[str, Any] = {
        "general.architecture": entry.name,
        "general.name": folder.resolve().name.removesuffix("-hf"),
    }
    with well_formed(str(folder / CONFIG_NAME)):
        metadata |= hf.metadata_of(entry.name, config)
        refuse_gaps(entry.name, metadata)
        vectors = hf.vectors(hf.filled(config))
        refuse_lost_factors(entry.name, hf.filled(config), vectors)
    if hf.turns and entry.rope == "pairs":
        metadata[ROPE_STYLE_KEY] = "halves"
    metadata |= pooling_metadata(folder, entry.name)
    with well_formed(str(folder / "tokenizer.json")):
        metadata |= tokenizer_metadata(folder, hf.filled(config))
    return Described(entry.name, hf, config, metadata, vectors)


def adopt_folder(folder: Path) -> AdoptedArchive:
    """Present a Hugging Face folder as an archive.

    Errors: as `described`, and for weights that are missing or do not fit.
    """
    said = described(folder)
    config, hf, metadata = said.config, said.form, said.metadata
    stored = parallel_weights(folder) or read_weights(folder)
    try:
        source = stored if isinstance(stored, UnpackedArchive) else unpacked(stored, folder, config)
        metadata |= {key: _numbers(source, name) for key, name in hf.numbers.items()}
        origins = origins_of(source, said.architecture, hf, config, metadata.get(f"{said.architecture}.block_count"))
        last = projections(folder, read_weights, _as_f32)
        metadata |= projection_metadata(said.architecture, last)
        return AdoptedArchive(source, hf.filled(config), metadata, origins, said.vectors, last)
    except BaseException:
        stored.close()
        raise


def _numbers(source: Source, name: str) -> list[float]:
    """The number that each layer's tensor of that name holds."""
    found: list[float] = []
    while (at := f"model.{name.format(i=len(found))}") in source.tensors:
        found += _as_f32(source.data(at), source.tensors[at].type)[:1]
    return found


def origins_of(
    source: Source, family: str, hf: HuggingFace, config: Config, layers: object = None
) -> dict[str, Origin]:
    """Where every tensor comes from; with tied weights one of the folder stands for both."""
    found: dict[str, dict[int | None, tuple[str, TensorName]]] = {}
    table = hf.table()
    numbers = tuple(name.rpartition("}")[2] for name in hf.numbers.values())
    classifies = any(name.startswith("classifier.") for name in source.tensors)
    senses = {name for name in source.tensors if hf.is_sense(name)}
    if senses:
        source.warnings.append(
            f"{source.path}: {len(senses)} tensors that see or hear are left out: {family} reads text"
        )
    guesses = {name for name in source.tensors if hf.is_guess(name, layers)}
    if guesses:
        source.warnings.append(f"{source.path}: {len(guesses)} tensors that guess further tokens are left out")
    adapters = {name for name in source.tensors if hf.is_adapter(name)}
    if adapters:
        source.warnings.append(
            f"{source.path}: {len(adapters)} tensors of adapters for single tasks are left out: vectors are of no task"
        )
    for name in source.tensors:
        if (
            name in senses | guesses | adapters
            or hf.is_needless(name)
            or (hf.is_needless_at_zero(name) and not any(source.data(name).cast("B")))
            or name.endswith(numbers)
            or (not classifies and hf.is_idle_head(name))
        ):
            continue
        rows = table.find(name)
        if not rows:
            source.warnings.append(f"{source.path}: tensor '{name}' is not used by {family}")
        for row in rows:
            experts = found.setdefault(row.name.gguf, {})
            if row.expert in experts:
                raise FormatError(f"{source.path}: tensors '{experts[row.expert][0]}' and '{name}' are the same weight")
            experts[row.expert] = (name, row.name)
    origins = {gguf: _origin(source, gguf, experts) for gguf, experts in found.items()}
    tied = _is_tied(source, origins, hf, config)
    if tied and "output.weight" in origins:
        output = origins.pop("output.weight")
        origins.setdefault("token_embd.weight", output)
    headed = any(name.gguf == "output.weight" for name in hf.names)
    if headed and "output.weight" not in origins and not tied:
        hint = "the folder is incomplete, or config.json should say tie_word_embeddings"
        raise FormatError(f"{source.path}: tensor 'lm_head.weight' is missing", hint=hint)
    return origins


def _is_tied(source: Source, origins: Mapping[str, Origin], hf: HuggingFace, config: Config) -> bool:
    if not hf.ties_by_weights:
        return hf.is_tied(config)
    pair = [origins[name].sources[0] for name in ("token_embd.weight", "output.weight") if name in origins]
    return len(pair) < 2 or (hf.is_tied(config) and source.data(pair[0]) == source.data(pair[1]))


def _origin(source: Source, gguf: str, experts: Mapping[int | None, tuple[str, TensorName]]) -> Origin:
    stacked = None not in experts
    if stacked:
        missing = next((n for n in range(len(experts)) if n not in experts), None)
        if missing is not None:
            raise FormatError(f"{source.path}: tensor '{gguf}' lacks the part of expert {missing}", hint="incomplete?")
        ordered = [experts[n] for n in range(len(experts))]
    else:
        ordered = [experts[None]]
    return Origin(ordered[0][1], tuple(name for name, _ in ordered), stacked)


def _as_f32(data: memoryview, kind: str) -> array[float]:
    values = array("f")
    if kind == "F32":
        values.frombytes(data)
    elif kind == "F16":
        values.extend(struct.unpack(f"<{len(data) // 2}e", data))
    else:  # BF16 is the upper half of an f32
        halves = array("H")
        halves.frombytes(data)
        values.frombytes(array("I", (half << 16 for half in halves)).tobytes())
    return values
