"""Open a model whatever its form: GGUF as it is, a Hugging Face folder presented in GGUF's vocabulary.

Nothing is converted on disk. Matrices stay where they are, mapped; vectors (small) are widened to F32 in memory, and
what GGUF stores otherwise (norms plus one, GPT-2's transposed matrices) is made in memory at first use. Rows of
queries and keys stay in Hugging Face's order, so metadata says `pacos.rope.style` "halves" where GGUF's is "pairs".
"""

from __future__ import annotations

import functools
import os
import struct
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats import open_archive
from pacos.formats.safetensors import SafetensorsArchive, read_safetensors
from pacos.hub.hf_config import first_position, is_tied, llama3_factors, metadata_of
from pacos.hub.hf_files import read_json, well_formed
from pacos.hub.hf_pooling import pooling_metadata
from pacos.hub.hf_tokenizer import tokenizer_metadata
from pacos.lazy import np
from pacos.models import Architecture, model_for_class
from pacos.models.hparams import ROPE_STYLE_KEY
from pacos.models.names import FROM_FIRST, NEEDLESS, PLUS_ONE, TRANSPOSE, TensorName, from_hf
from pacos.native import address_of
from pacos.types import Archive, TensorEntry

CONFIG_NAME = "config.json"
_MATRIX_TYPES = ("F32", "F16", "BF16")
_MADE_IN_MEMORY = -1  # `part` of tensors that lie in no file


def open_model(path: str | os.PathLike[str]) -> Archive:
    """Open a GGUF file or a Hugging Face folder with config.json, safetensors and tokenizer.json.

    Errors: ModelNotFound, FormatError, UnsupportedModel, CapacityError.
    """
    given = Path(path)
    return adopt_folder(given) if (given / CONFIG_NAME).is_file() else open_archive(given)


class AdoptedArchive:
    """A Hugging Face folder in GGUF's words; `changes` says what GGUF files would hold otherwise."""

    def __init__(
        self,
        source: SafetensorsArchive,
        metadata: dict[str, Any],
        tensors: dict[str, TensorEntry],
        origins: Mapping[str, str],
        made: Mapping[str, Callable[[], Any]],
        changes: Mapping[str, str],
    ) -> None:
        self.path: Path = source.path
        self.metadata: Mapping[str, Any] = metadata
        self.tensors: Mapping[str, TensorEntry] = tensors
        self.changes = changes
        self.warnings: list[str] = list(source.warnings)
        self._source = source
        self._origins = origins
        self._makers = made
        self._made: dict[str, Any] = {}

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor. Errors: FormatError when the model has no such tensor."""
        if name in self._makers:
            if name not in self._made:
                self._made[name] = self._makers[name]()
            return memoryview(self._made[name]).cast("B").toreadonly()
        return self._source.data(self._origin(name))

    def address(self, name: str) -> int:
        """Address of a tensor's first byte, valid until close()."""
        return address_of(self.data(name)) if name in self._makers else self._source.address(self._origin(name))

    def _origin(self, name: str) -> str:
        if name not in self._origins:
            raise FormatError(f"{self.path}: the model has no tensor {name!a}")
        return self._origins[name]

    def close(self) -> None:
        """Release the files and what was made in memory."""
        self._made.clear()
        self._source.close()


def adopt_folder(folder: Path) -> AdoptedArchive:
    """Present a Hugging Face folder as an archive.

    Errors: ModelNotFound when a file is missing; FormatError; UnsupportedModel for class, activation or tokenizer.
    """
    config = read_json(folder / CONFIG_NAME)
    classes = config.get("architectures")
    if not isinstance(classes, list) or not classes or not isinstance(classes[0], str):
        raise FormatError(f"{folder / CONFIG_NAME}: architectures is {classes!a}, needed: a list with a class name")
    entry = model_for_class(classes[0])
    metadata = {"general.architecture": entry.name, "general.name": folder.resolve().name.removesuffix("-hf")}
    with well_formed(str(folder / CONFIG_NAME)):
        metadata |= metadata_of(entry.name, config)
    if entry.rope == "pairs":
        metadata[ROPE_STYLE_KEY] = "halves"
    metadata |= pooling_metadata(folder, entry.name)
    with well_formed(str(folder / "tokenizer.json")):
        metadata |= tokenizer_metadata(folder, config)
    source = read_safetensors(folder)
    try:
        return _present(source, entry, config, metadata)
    except BaseException:
        source.close()
        raise


def _present(
    source: SafetensorsArchive, entry: Architecture, config: Mapping[str, Any], metadata: dict[str, Any]
) -> AdoptedArchive:
    names = _names(source, entry, config)
    tensors: dict[str, TensorEntry] = {}
    made: dict[str, Callable[[], Any]] = {}
    for gguf, (hf, name) in names.items():
        there = source.tensors[hf]
        if there.type not in _MATRIX_TYPES:
            raise UnsupportedModel(f"tensor '{hf}' is of type {there.type}, supported: {', '.join(_MATRIX_TYPES)}")
        if len(there.shape) == 1:
            tensors[gguf] = TensorEntry(gguf, there.shape, "F32", _MADE_IN_MEMORY, 0, 4 * there.shape[0])
            made[gguf] = _vector_maker(source, hf, 1.0 if name.change == PLUS_ONE else 0.0)
        elif name.change == TRANSPOSE:
            shape = tuple(reversed(there.shape))
            tensors[gguf] = TensorEntry(gguf, shape, there.type, _MADE_IN_MEMORY, 0, there.nbytes)
            made[gguf] = _transposed_maker(source, hf)
        elif name.change == FROM_FIRST and (skipped := first_position(config)):
            row = there.nbytes // there.shape[0]
            shape = (max(0, there.shape[0] - skipped), *there.shape[1:])
            tensors[gguf] = TensorEntry(gguf, shape, there.type, _MADE_IN_MEMORY, 0, row * shape[0])
            made[gguf] = functools.partial(_later_rows, source, hf, row * skipped)
        else:
            tensors[gguf] = TensorEntry(gguf, there.shape, there.type, there.part, there.offset, there.nbytes)
    with well_formed(str(source.path / CONFIG_NAME)):
        factors = llama3_factors(config, metadata.get(f"{entry.name}.rope.dimension_count", 0)) if entry.rope else None
    if factors:
        tensors["rope_freqs.weight"] = TensorEntry(
            "rope_freqs.weight", (len(factors),), "F32", _MADE_IN_MEMORY, 0, 4 * len(factors)
        )
        made["rope_freqs.weight"] = lambda: array("f", factors)
    origins = {gguf: hf for gguf, (hf, _) in names.items()}
    changes = {gguf: name.change for gguf, (_, name) in names.items()}
    return AdoptedArchive(source, metadata, tensors, origins, made, changes)


def _names(
    source: SafetensorsArchive, entry: Architecture, config: Mapping[str, Any]
) -> dict[str, tuple[str, TensorName]]:
    """GGUF name -> (name in the file, both names and the change); with tied weights one tensor stands for both."""
    names: dict[str, tuple[str, TensorName]] = {}
    classifies = any(hf.startswith("classifier.") for hf in source.tensors)
    for hf in source.tensors:
        if NEEDLESS.search(hf) or (not classifies and "pooler." in hf):
            continue
        name = from_hf(entry.name, hf)
        if name is None:
            source.warnings.append(f"{source.path}: tensor '{hf}' is not used by {entry.name}")
        elif name.gguf in names:
            raise FormatError(f"{source.path}: tensors '{names[name.gguf][0]}' and '{hf}' are the same weight")
        else:
            names[name.gguf] = (hf, name)
    if is_tied(entry.name, config) and "output.weight" in names:
        output = names.pop("output.weight")
        names.setdefault("token_embd.weight", output)
    if "output.weight" not in names and not is_tied(entry.name, config):
        hint = "the folder is incomplete, or config.json should say tie_word_embeddings"
        raise FormatError(f"{source.path}: tensor 'lm_head.weight' is missing", hint=hint)
    return names


def _later_rows(source: SafetensorsArchive, name: str, skipped_bytes: int) -> memoryview:
    return source.data(name)[skipped_bytes:]


def _vector_maker(source: SafetensorsArchive, name: str, plus: float) -> Callable[[], array[float]]:
    def make() -> array[float]:
        values = _as_f32(source.data(name), source.tensors[name].type)
        return array("f", (value + plus for value in values)) if plus else values

    return make


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


def _transposed_maker(source: SafetensorsArchive, name: str) -> Callable[[], Any]:
    def make() -> Any:
        entry = source.tensors[name]
        cells = np.frombuffer(source.data(name), np.uint32 if entry.type == "F32" else np.uint16)
        return np.ascontiguousarray(cells.reshape(entry.shape).T)

    return make
