"""The models on this disk: repositories, and what was given a name; and what a text means among them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pacos.errors import CapacityError, FormatError, ModelError, ModelNotFound, UsageError
from pacos.formats import open_archive
from pacos.hub.entries import Entry, all_entries, find_entry
from pacos.hub.file_types import FILE_TYPE_KEY, file_type_name
from pacos.hub.hub_cache import HubModel, hub_models, repos
from pacos.hub.spelling import HubName, hub_name, is_elsewhere, quant_of, shard_of
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, places, read

DEFAULTS = (SamplingOptions, GenerateOptions, LoadOptions)  # what a name may give its model
BUNDLED = {"storyteller": "storyteller.gguf"}
_DATA = Path(__file__).parents[1] / "data"
_ALIAS_DEPTH_MAX = 8
_OF_FOLDERS = (".safetensors", ".json", ".jinja", ".txt", ".model")


def bundled(name: str) -> Path:
    """The file of a model that comes with Pacos. Errors: ModelNotFound when this installation lacks it."""
    path = _DATA / BUNDLED[name]
    if not path.is_file():
        raise ModelNotFound(f"the bundled model '{name}' is missing: {path}", hint="install Pacos again")
    return path


@dataclass(frozen=True, slots=True)
class Preset:
    """What a name gives its model by default. Those of the name itself win over those of what it stands for."""

    options: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    template: str = ""
    messages: tuple[Mapping[str, str], ...] = ()
    licence: str = ""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that was found: `path` is to be opened, `files` are all of it, `owned` whether they are the store's.

    `named` is False where its path was given.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    owned: bool
    source: str = ""
    alias_of: str = ""
    named: bool = True
    preset: Preset = field(default_factory=Preset)

    @property
    def bytes(self) -> int:
        """What its files take. Errors: ModelNotFound when one is gone."""
        return sum(self._facts(file).st_size for file in self.files)

    @property
    def modified(self) -> float:
        """When its content was written. Errors: ModelNotFound when a file is gone."""
        return max(self._facts(file).st_mtime for file in self.files)

    @property
    def type(self) -> str:
        """The type that its file says it has, else the one that the names tell; "" where nothing does."""
        try:
            with closing(open_archive(self.path)) as archive:
                number = archive.metadata.get(FILE_TYPE_KEY)
        except (ModelError, CapacityError):
            number = None
        return file_type_name(number) if number is not None else quant_of(self.name) or quant_of(self.path.name)

    def _facts(self, file: Path) -> os.stat_result:
        try:
            return file.stat()
        except OSError as error:
            problem = f"{self.name}: its file {file} is gone: {error.strerror}"
            hint = f"{remedy(self.name, self.source)}, `pacos rm {self.name}` forgets the name"
            raise ModelNotFound(problem, hint=hint) from None


def remedy(name: str, source: str) -> str:
    """How to get a model's file again."""
    if source.startswith(("http://", "https://")):
        return f"`pacos pull {source} --alias {name} --force` gets it again"
    if source:
        return f"`pacos pull {name if source == 'hub' else source}` gets it again"
    return "import it again"


class Store:
    """The store as it is now; what it finds is read once."""

    @cached_property
    def repositories(self) -> list[HubModel]:
        """The whole models of all repositories."""
        root = places.hub_folder()
        return [model for repo in repos(root) for model in hub_models(root, repo)]

    @cached_property
    def _read(self) -> tuple[list[Entry], list[FormatError]]:
        return all_entries()

    @property
    def entries(self) -> list[Entry]:
        """The names that were given."""
        return self._read[0]

    @property
    def damaged(self) -> list[FormatError]:
        """What is wrong with names that cannot be read; of their options once `models` has gone through all."""
        return self._read[1]

    def models(self) -> Iterator[StoredModel]:
        """Every model whose files are there, under each of its names; names that lead nowhere are left out."""
        for model in self.repositories:
            yield _from_hub(model)
        for entry in self.entries:
            try:
                found = self._named(entry, 0)
                found.bytes  # noqa: B018 - raises where a file is gone
            except ModelNotFound:
                continue
            except FormatError as error:
                self.damaged.append(error)
                continue
            yield found

    def find(self, text: str) -> StoredModel | None:
        """What a name means: a bundled model, a name that was given, a repository, or a file in the store.

        Errors: ModelNotFound for a name whose model is gone; FormatError for a damaged one.
        """
        return self._find(text, 0)

    def _find(self, text: str, depth: int) -> StoredModel | None:
        if text in BUNDLED:
            path = bundled(text)
            return StoredModel(text, path, (path,), owned=False, source="bundled")
        if (entry := find_entry(text)) is not None:
            return self._named(entry, depth)
        if is_elsewhere(text):
            return self._by_source(text)
        if (wanted := hub_name(text)) is not None:
            root = places.hub_folder()
            for repo in (one for one in repos(root) if one.lower() == wanted.repo.lower()):
                if (model := _wanted(hub_models(root, repo), wanted)) is not None:
                    return _from_hub(model)
            return None
        return None if "/" in text else self._by_file(text)

    def _by_source(self, text: str) -> StoredModel | None:
        """The model that was pulled as that text."""
        wanted = (text, f"{text}:latest") if "://" not in text else (text.partition("?")[0],)
        return next((self._named(entry, 0) for entry in self.entries if entry.path and entry.source in wanted), None)

    def _by_file(self, text: str) -> StoredModel | None:
        wanted = text.lower().removesuffix(".gguf")
        own = (self._named(entry, 0) for entry in self.entries if entry.path)
        for model in (*map(_from_hub, self.repositories), *own):
            stem = model.path.stem.lower()
            if wanted in (stem, shard_of(stem)[0]) and model.path.suffix == ".gguf":
                return model
        return None

    def _named(self, entry: Entry, depth: int) -> StoredModel:
        try:
            read(DEFAULTS, entry.options)  # somebody may have edited the file
        except UsageError as error:
            raise FormatError(f"the defaults of the name {entry.name}: {error.message}", hint=error.hint) from None
        preset = Preset(entry.options, entry.system, entry.template, entry.messages, entry.licence)
        if entry.path:
            owned = not Path(entry.path).is_absolute()
            return StoredModel(entry.name, entry.target, own_files(entry), owned, entry.source, preset=preset)
        found = self._find(entry.model, depth + 1) if depth < _ALIAS_DEPTH_MAX else None
        if found is None:
            why = "stands for itself" if depth >= _ALIAS_DEPTH_MAX else "is not in the store"
            problem = f"the name {entry.name} stands for {entry.model}, which {why}"
            raise ModelNotFound(problem, hint=f"`pacos alias {entry.name} MODEL` gives it another model")
        below = found.preset
        whole = Preset(
            {**below.options, **entry.options},
            entry.system or below.system,
            entry.template or below.template,
            entry.messages or below.messages,
            entry.licence or below.licence,
        )
        source = entry.source or found.source
        return StoredModel(entry.name, found.path, found.files, found.owned, source, entry.model, preset=whole)


def own_files(entry: Entry) -> tuple[Path, ...]:
    """The files of an entry that has its own, also those that are not opened."""
    blobs = tuple(places.blobs_folder() / name for name in entry.blobs)
    return blobs or (files_of(entry.target) if entry.path else ())


def files_of(path: Path) -> tuple[Path, ...]:
    """All files of the model that is opened at a path: those of a folder, or all parts of a split file."""
    if path.is_dir():
        return tuple(sorted(found for found in path.iterdir() if found.suffix in _OF_FOLDERS and found.is_file()))
    start, _, count = shard_of(path.stem)
    if count == 1:
        return (path,)
    return tuple(path.with_name(f"{start}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1))


def _wanted(models: list[HubModel], wanted: HubName) -> HubModel | None:
    """The model of a repository that a name means; where it says no more, the one that is preferred."""
    for model in models:
        files = {file.as_posix().lower() for file in model.files}
        if wanted.file and any(file.endswith("/" + wanted.file.lower()) for file in files):
            return model
        quants = {model.name.quant.lower(), model.name.quant.lower().removeprefix("ud-"), model.path.stem.lower()}
        if not wanted.file and (not wanted.quant or wanted.quant.lower() in quants):
            return model
    return None


def _from_hub(model: HubModel) -> StoredModel:
    return StoredModel(str(model.name), model.path, model.files, owned=True, source="hub")


def is_path(text: str) -> bool:
    """Whether a text can only be meant as a path."""
    return text.startswith((".", "/", "~")) or "\\" in text
