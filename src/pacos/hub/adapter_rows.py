"""What an adapter must know of its base model: the names of tensors, and how their rows lie in GGUF files.

The base may be a folder with config.json, open or not, or a GGUF file, whose metadata then stands for the config.
Shapes: rows [N, r] of an adapter's B, of X experts [X, N, r].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats import open_archive
from pacos.hub.convert import paired_rows
from pacos.hub.hf_files import read_json, well_formed
from pacos.hub.names import resolve
from pacos.lazy import np
from pacos.models import HuggingFace, model_for, model_for_class
from pacos.models.hparams import ROPE_STYLE_KEY
from pacos.models.tensor_names import QUERIES, TRANSPOSE, Found
from pacos.types import Archive

# GGUF's keys in config.json's words, for changes that need the config of a base that has none.
_WORDS = {
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
}


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A family, the forms of folders that may hold it, and numbers; `halves`: rows are not in GGUF's order."""

    architecture: str
    forms: tuple[HuggingFace, ...]
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    halves: bool

    def rows_of(self, module: str, b: Any, folder: Path) -> Iterator[tuple[str, int | None, Any]]:
        """The tensors that a module of the folder is in GGUF, whose expert's, and their rows of B.

        Errors: UnsupportedModel for a module that the family does not have, or whose rows cannot be told apart.
        """
        for one in self._found(f"{module}.weight", module, folder):
            yield one.name.gguf, one.expert, self._changed(one, b, folder)

    def stacks_of(self, parameter: str, b: Any, folder: Path) -> Iterator[tuple[str, Any]]:
        """The tensors that a parameter of all experts is in GGUF, and their rows of B.

        Shapes: b [X, N, r] for X experts. Errors: as `rows_of`.
        """
        for one in self._found(parameter, parameter, folder):
            yield one.name.gguf, self._changed(one, b, folder)

    def tensors_of(self, name: str, values: Any, folder: Path) -> list[tuple[str, int | None, Any]]:
        """The tensors that a whole tensor of the folder is in GGUF, whose expert's, and their values; maybe none."""
        found = []
        for one in self._rows(name):
            whole = values
            with well_formed(f"{folder}: '{name}'"):
                for change in one.name.changes:
                    whole = change.values(whole, self.config)
            found.append((one.name.gguf, one.expert, whole))
        return found

    def _rows(self, name: str) -> list[Found]:
        """Rows of a tensor's name, which transformers 5 may have changed since the folder was written."""
        for written in (name, name.replace(".mlp.", ".block_sparse_moe.")):
            for form in self.forms:
                if found := form.table().find(written):
                    return found
        return []

    def _found(self, name: str, said: str, folder: Path) -> list[Found]:
        found = self._rows(name)
        if not found:
            problem = f"{folder}: the adapter changes '{said}', which {self.architecture} does not have"
            raise UnsupportedModel(problem, hint="is it an adapter of another model?")
        return found

    def _changed(self, one: Found, b: Any, folder: Path) -> Any:
        """The rows of B that belong to a tensor. A transposed tensor is one of outputs and inputs in GGUF, as B is."""
        rows = b
        for change in one.name.changes:
            if change is TRANSPOSE:
                continue
            if change.axis != rows.ndim - 2:
                raise UnsupportedModel(
                    f"{folder}: an adapter of '{one.name.hf}' cannot be used for {self.architecture}"
                )
            with well_formed(f"{folder}: '{one.name.hf}'"):
                rows = change.values(rows, self.config)
        return rows

    def turn(self, name: str, *, to_pairs: bool) -> Callable[[Any], Any] | None:
        """What moves a tensor's rows from rotary halves to pairs or back; None where nothing moves.

        Errors: FormatError for a base whose metadata does not say how many heads there are.
        """
        rotary = next((row.rotary for form in self.forms for row in form.names if _fits(row.gguf, name)), "")
        if not rotary or model_for(self.architecture).rope != "pairs":
            return None
        heads = self._number("attention.head_count", name)
        if rotary != QUERIES:
            heads = self._number("attention.head_count_kv", name, heads)
        width = self._number("rope.dimension_count", name, 0)

        def turned(rows: Any) -> Any:
            each = rows.shape[0] // heads
            if rows.shape[0] % heads or (width or each) > each:
                raise FormatError(f"the pair for '{name}' has {rows.shape[0]} rows for {heads} heads")
            return (paired_rows if to_pairs else _halved_rows)(rows, heads, width or each)

        return turned

    def _number(self, key: str, name: str, without: int | None = None) -> int:
        value = self.metadata.get(f"{self.architecture}.{key}", without)
        if not isinstance(value, int) and hasattr(value, "__getitem__"):  # one for each layer
            value = value[int(name.split(".")[1])]
        if not isinstance(value, int) or isinstance(value, bool) or value < (1 if without is None else 0):
            raise FormatError(f"the base model's {key} is {value!a}, needed: a number")
        return value


def _fits(pattern: str, name: str) -> bool:
    before, place, after = pattern.partition("{i}")
    return name == pattern if not place else name.startswith(before) and name.endswith(after)


def _halved_rows(rows: Any, heads: int, width: int) -> Any:
    """Move rows of rotary pairs (2 i, 2 i + 1) of each head to halves (i, i + width / 2), as paired_rows undoes it."""
    by_head = rows.reshape(heads, -1, *rows.shape[1:])
    turned = by_head[:, :width].reshape(heads, width // 2, 2, *rows.shape[1:]).swapaxes(1, 2)
    moved = turned.reshape(heads, width, *rows.shape[1:])
    return np.concatenate([moved, by_head[:, width:]], axis=1).reshape(rows.shape)


def base_of(archive: Archive) -> BaseModel:
    """What an open model says."""
    entry = model_for(archive.metadata.get("general.architecture"))
    values = {word: archive.metadata.get(f"{entry.name}.{key}") for word, key in _WORDS.items()}
    config = {word: value for word, value in values.items() if value is not None}
    halves = archive.metadata.get(ROPE_STYLE_KEY) == "halves"
    return BaseModel(entry.name, entry.hf, config, archive.metadata, halves)


def base_at(model: str) -> BaseModel:
    """What a model says that is given by path or name; a folder needs no weights.

    Errors: ModelNotFound, FormatError, UnsupportedModel.
    """
    if (Path(model) / "config.json").is_file():
        return base_in(Path(model))
    path = resolve(model)
    if path.is_dir():
        return base_in(path)
    archive = open_archive(path)
    try:
        return base_of(archive)
    finally:
        archive.close()


def base_in(folder: Path) -> BaseModel:
    """What a folder's config.json says; there need be no weights. Errors: FormatError, UnsupportedModel."""
    config = read_json(folder / "config.json")
    classes = config.get("architectures")
    if not isinstance(classes, list) or not classes or not isinstance(classes[0], str):
        raise FormatError(f"{folder / 'config.json'}: architectures is {classes!a}, needed: a list with a class name")
    entry, form = model_for_class(classes[0])
    with well_formed(str(folder / "config.json")):
        metadata = form.metadata_of(entry.name, config)
    return BaseModel(entry.name, (form,), form.filled(config), metadata, halves=False)
