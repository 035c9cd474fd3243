"""Find a model by what the user wrote: a file, a folder, or a name: bundled, given, of a repository, of a file."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from pacos.errors import FormatError, ModelNotFound
from pacos.hub.hub_cache import repos
from pacos.hub.opening import CONFIG_NAME, PARAMS_NAME
from pacos.hub.spelling import HubName, hub_name, is_elsewhere
from pacos.hub.store import BUNDLED, Preset, Store, StoredModel, files_of, is_path
from pacos.settings.places import hub_folder

_ENDINGS = (".gguf", ".safetensors", ".bin")
_OLLAMA_NAME = re.compile(r"[a-z][a-z0-9._-]*[0-9][a-z0-9._-]*(:[\w.-]+)?|[a-z][a-z0-9._-]*:[\w.-]+", re.ASCII)
_LISTED_MAX = 10_000  # entries of a folder that are looked through for a near name


def resolve(path_or_name: str | os.PathLike[str]) -> Path:
    """The path of a model file or folder.

    Errors: as `find`.
    """
    return find(path_or_name).path


def find(path_or_name: str | os.PathLike[str]) -> StoredModel:
    """The model that is meant: a path, else a bundled model, else a name in the store (`Store.find`).

    Errors: ModelNotFound with the nearest names; FormatError for a folder that holds no model or several.
    """
    text = os.fspath(path_or_name)
    if not text or "\0" in text:
        raise ModelNotFound(f"{text!a} is no name of a model", hint=_known())
    path = Path(text).expanduser()
    try:
        there = path.exists() or path.is_symlink()
    except OSError as error:
        raise ModelNotFound(f"{text[:200]!a} cannot be looked up: {error.strerror}", hint=_known()) from error
    if there:
        found = _model_folder(path) if path.is_dir() else path
        return StoredModel(text, found, files_of(found), owned=False, named=False)
    if (stored := find_name(text)) is not None:
        if stored.source != "bundled":
            stored.bytes  # noqa: B018 - raises where a file is gone
        return stored
    raise _not_found(text, path)


def find_name(text: str) -> StoredModel | None:
    """The model of a name, bundled or in the store; a text is never taken for a path. Errors: as `Store.find`."""
    return None if is_path(text) else Store().find(text)


def preset_of(path_or_name: str | os.PathLike[str]) -> Preset:
    """What a name gives its model by default; nothing for a path. Errors: as `find`."""
    return find(path_or_name).preset


def _model_folder(folder: Path) -> Path:
    try:
        if (folder / CONFIG_NAME).exists() or (folder / PARAMS_NAME).exists():
            return folder
        files = sorted(found for found in folder.iterdir() if found.suffix == ".gguf")
        tensors = any(found.suffix == ".safetensors" for found in folder.iterdir())
    except OSError as error:
        problem = f"{folder}: the folder cannot be read: {error.strerror}"
        raise FormatError(problem, hint="allow it to be read") from error
    firsts = [found for found in files if "-of-" not in found.stem or "-00001-of-" in found.stem]
    if firsts:
        shown = " or ".join(str(found) for found in firsts[:3])
        raise FormatError(f"{folder}: a folder, needed is a file in it", hint=f"give {shown}")
    if tensors:
        raise FormatError(f"{folder}: safetensors without {CONFIG_NAME}", hint="download the whole folder")
    hint = "give a GGUF file, or a Hugging Face folder with config.json, tokenizer.json and safetensors"
    raise FormatError(f"{folder}: a folder without a model", hint=hint)


def _not_found(text: str, path: Path) -> ModelNotFound:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    if is_elsewhere(text):
        return ModelNotFound(f"no model {shown!a} in the store", hint=f"`pacos pull {shown}` downloads it")
    wanted = of_hub(text)
    stored = [model.name for model in Store().models()]
    near = difflib.get_close_matches(text[:200], [*sorted(BUNDLED), *stored], 3)
    try:
        if path.parent.is_dir():
            others = [entry.name for _, entry in zip(range(_LISTED_MAX), os.scandir(path.parent), strict=False)]
            models = [name for name in others if name.endswith(".gguf") or (path.parent / name / CONFIG_NAME).is_file()]
            near += [str(path.parent / name) for name in difflib.get_close_matches(path.name[:200], models, 3)]
        elif path.parent != Path() and wanted is None:
            return ModelNotFound(f"no model at {shown!a}: there is no folder {str(path.parent)[:200]!a}", hint=_known())
    except OSError:
        pass
    nearest = f"did you mean {' or '.join(near)}? " if near else ""
    if wanted is not None:
        starts = (f"{wanted.repo}:".lower(), f"{wanted.repo}/".lower())
        others = [name for name in stored if name.lower().startswith(starts)]
        has = f": it has {', '.join(others[:8])}" if others else ""
        hint = f"{nearest}`pacos pull {shown}` downloads it"
        return ModelNotFound(f"no model {shown!a} in the store{has}", hint=hint)
    if not near and _OLLAMA_NAME.fullmatch(text):
        nearest = f"`pacos pull ollama:{text}` looks in Ollama's registry; "
    return ModelNotFound(f"no model file, folder or name {shown!a}", hint=nearest + _known())


def of_hub(text: str) -> HubName | None:
    """The model of a hub that a text means; None for another text, and for one that is rather a path."""
    wanted = hub_name(text)
    is_file = wanted is not None and text.endswith(_ENDINGS)
    return None if wanted is None or (is_file and wanted.repo not in repos(hub_folder())) else wanted


def _known() -> str:
    return f"give a GGUF file, a Hugging Face folder, or a name: {', '.join(sorted(BUNDLED))}; `pacos list` shows more"
