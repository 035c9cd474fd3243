"""Give names to models that are on this disk already: files, folders, and what other programs have downloaded."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pacos.errors import ModelError, ModelNotFound, UsageError
from pacos.formats.atomic import atomic_file
from pacos.formats.wording import shown
from pacos.hub import hub_cache
from pacos.hub.describe import open_any
from pacos.hub.entries import Entry, changing, entry_path, find_entry, inside, make_folder, write_entry
from pacos.hub.names import resolve
from pacos.hub.ollama_layers import MANIFEST_BYTES_MAX, entry_of, read_manifest
from pacos.hub.spelling import checked_name, quant_of, shard_of
from pacos.hub.store import BUNDLED, files_of
from pacos.settings import places

PROGRAMS = ("ollama", "lm-studio", "huggingface")
_NEAR = 0.75  # how like the name of a program a word is that means it
_CHUNK_BYTES = 1 << 20


def found_at(text: str) -> tuple[list[Entry], list[str]]:
    """What may be imported from a file, a folder, another program's cache or the name of such a program.

    The second list tells what was passed over. Errors: ModelNotFound, FormatError, UnsupportedModel.
    """
    folders = {
        "ollama": (places.ollama_folder(),),
        "lm-studio": places.lm_studio_folders(),
        "huggingface": (places.shared_hub_folder(),),
    }
    if text in folders and not Path(text).exists():
        there = [folder for folder in folders[text] if folder.is_dir()]
        if not there:
            where = " or ".join(map(str, folders[text]))
            raise ModelNotFound(f"{text} has no models here: there is no folder {where}", hint="give the folder itself")
        return _of_cache(there[0])
    path = Path(os.path.abspath(Path(text).expanduser()))
    if not os.path.lexists(path) and (near := difflib.get_close_matches(text.lower(), PROGRAMS, 1, _NEAR)):
        raise ModelNotFound(f"no model file or folder {shown(text)}", hint=f"did you mean {near[0]}?")
    if path.is_dir() and not (path / "config.json").exists() and _kind(path) is not None:
        return _of_cache(path)
    archive, _ = open_any(resolve(path))
    archive.close()
    return [Entry(_name_of(path), path=str(path), source="")], []


def _name_of(path: Path) -> str:
    stem = shard_of(path.stem)[0] if path.is_file() else path.name
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem).strip("._-")
    return letters[:96].rstrip(".") or "model"


def _kind(folder: Path) -> Callable[[Path], tuple[list[Entry], list[str]]] | None:
    if (folder / "manifests").is_dir() and (folder / "blobs").is_dir():
        return _of_ollama
    if any(folder.glob("models--*")):
        return _of_hub
    return _of_lm_studio if any(folder.glob("*/*/*.gguf")) else None


def _of_cache(folder: Path) -> tuple[list[Entry], list[str]]:
    read = _kind(folder)
    if read is None:
        raise ModelNotFound(f"{shown(folder)} holds no models", hint="give a model file, or another program's cache")
    return read(folder)


def _of_ollama(folder: Path) -> tuple[list[Entry], list[str]]:
    found, notes = [], []
    for manifest in sorted(path for path in (folder / "manifests").rglob("*") if path.is_file()):
        parts = manifest.relative_to(folder / "manifests").parts[1:]
        if len(parts) < 2:
            continue
        name = "/".join(parts[:-1]).removeprefix("library/") + f":{parts[-1]}"
        try:
            with manifest.open("rb") as file:
                layers = read_manifest(file.read(MANIFEST_BYTES_MAX + 1), name)
            weights = next(layer for layer in layers if layer.kind == "model")
            blob = folder / "blobs" / weights.file_name
            if not blob.is_file():
                raise ModelNotFound(f"{name}: its file {weights.file_name} is missing")
            entry, said = entry_of(name, layers, folder / "blobs", str(blob), "")
            found.append(entry)
            notes += [f"{name}: {text}" for text in said]
        except (ModelError, UsageError) as error:
            notes.append(f"{name} is passed over: {error.message}")
    return found, notes


def _of_hub(folder: Path) -> tuple[list[Entry], list[str]]:
    found = [model for repo in hub_cache.repos(folder) for model in hub_cache.hub_models(folder, repo)]
    return [Entry(str(model.name), path=str(model.path)) for model in found if _can_name(str(model.name))], []


def _of_lm_studio(folder: Path) -> tuple[list[Entry], list[str]]:
    found = []
    for path in sorted(folder.glob("*/*/*.gguf")):
        if path.name.lower().startswith("mmproj") or shard_of(path.stem)[1] != 1:
            continue
        repo, quant = path.parent.relative_to(folder).as_posix(), quant_of(path.name)
        name = f"{repo}:{quant}" if quant else f"{repo}/{path.stem}"
        if _can_name(name):
            found.append(Entry(name, path=str(path)))
    return found, []


def _can_name(name: str) -> bool:
    try:
        return bool(checked_name(name))
    except UsageError:
        return False


def keep(
    entry: Entry, *, copy: bool, replace_it: bool, seen: Callable[[int], None] = lambda count: None
) -> tuple[Entry, int]:
    """Keep an entry, with a copy of its files in the store where `copy` says so; tells how many bytes were copied.

    Errors: UsageError when the name is taken and not to be replaced; CapacityError when the disk is full.
    """
    checked_name(entry.name)
    if entry.name in BUNDLED:
        raise UsageError(f"{entry.name} is the name of a bundled model", hint="choose another one")
    if not replace_it and find_entry(entry.name) is not None:
        raise UsageError(f"there is a model {entry.name}", hint="choose another name, or --force to replace it")
    copied = 0
    if copy:
        folder = places.files_folder() / entry_path(entry.name).stem
        make_folder(folder)
        entry, copied = _copied(entry, folder, seen)
    with changing():
        write_entry(entry, replace=replace_it)
    return entry, copied


def _copied(entry: Entry, folder: Path, seen: Callable[[int], None]) -> tuple[Entry, int]:
    source = entry.target
    digests, total = {}, 0
    for file in files_of(source):
        place = folder / (file.name if file.suffix or source.is_dir() else f"{_name_of(Path(entry.name))}.gguf")
        made = hashlib.sha256()
        with file.open("rb") as reading, atomic_file(place, file.stat().st_size) as writing:
            while piece := reading.read(_CHUNK_BYTES):
                made.update(piece)
                writing.write(piece)
                total += len(piece)
                seen(len(piece))
        digests[place.name] = made.hexdigest()
    path = folder if source.is_dir() else folder / min(digests)
    return replace(entry, path=inside(path), digests=digests), total
