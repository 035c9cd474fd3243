"""Names of models: one small JSON file for each, with the model meant and what it is given by default.

{"name": "story", "model": "org/name:Q4_K_M", "options": {"temp": 0.2}, "system": "You are brief."}

`model` is another name; `path` stands in its place for a file or folder: a whole path, or one below `places.home()`.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, PacosError, UsageError
from pacos.formats.atomic import atomic_file
from pacos.formats.wording import shown
from pacos.hub.spelling import checked_name
from pacos.settings import places

_BLOB = re.compile(r"sha256-[0-9a-f]{64}")
_BYTES_MAX = 8 << 20
_LOCK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name means. `options` are of generating and of opening; `digests` say what our own files must hold.

    `template` is the name of a built-in chat template, or a template's text. `messages` begin every conversation.
    `blobs` are the files of a model from a registry, by name.
    """

    name: str
    model: str = ""
    path: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    template: str = ""
    messages: tuple[Mapping[str, str], ...] = ()
    licence: str = ""
    source: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()

    @property
    def target(self) -> Path:
        """The file or folder of a name that has its own."""
        return places.home() / self.path


def entry_path(name: str) -> Path:
    """The file of a name; names that differ in capitals alone are one. Errors: UsageError for what is no name."""
    return places.names_folder() / (urllib.parse.quote(checked_name(name).lower(), safe="") + ".json")


def find_entry(name: str) -> Entry | None:
    """The entry of a name, with or without Ollama's ":latest". Errors: FormatError for a damaged one."""
    for spelling in (name, f"{name}:latest", name.removesuffix(":latest")):
        try:
            path = entry_path(spelling)
        except UsageError:
            continue
        if path.is_file():
            return read_entry(path)
    return None


def read_entry(path: Path) -> Entry:
    """What a file of a name says. Errors: FormatError naming the file and what is wrong with it."""
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise ValueError("it is too long")
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise TypeError("it is no object")
        kinds = {"options": dict, "digests": dict, "messages": list, "blobs": list}
        for key, value in data.items():
            if key not in {one.name for one in fields(Entry)}:
                raise ValueError(f"unknown key {key!a:.40}")
            if not isinstance(value, kinds.get(key, str)):
                raise TypeError(f"{key} is {value!a:.40}")
        lists = {key: tuple(data.get(key, ())) for key in ("messages", "blobs")}
        entry = Entry(**{**data, **lists})
        checked_name(entry.name)
        if bool(entry.model) == bool(entry.path):
            raise ValueError("needed is either model or path")
        if ".." in entry.path.split("/") or not all(_BLOB.fullmatch(str(blob)) for blob in entry.blobs):
            raise ValueError("it names files outside the store")
    except OSError as error:
        raise FormatError(f"{shown(path)}: cannot be read: {error.strerror}", hint="allow it to be read") from None
    except (ValueError, TypeError, RecursionError, UsageError) as error:
        problem = f"{shown(path)}: the file of a name is damaged: {error}"
        raise FormatError(problem, hint="`pacos prune` removes it") from None
    return entry


def write_entry(entry: Entry, *, replace: bool = True) -> None:
    """Keep an entry. Errors: UsageError when it is there and not to be replaced, or the place cannot be written."""
    data = {one.name: getattr(entry, one.name) for one in fields(Entry)}
    kept = {key: value for key, value in data.items() if value}
    path = entry_path(entry.name)
    make_folder(path.parent)
    with atomic_file(path, replace=replace) as file:
        file.write(json.dumps(kept, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def remove_entry(name: str) -> None:
    """Forget a name; its files stay. Nothing happens where it is not there."""
    with suppress(FileNotFoundError):
        entry_path(name).unlink()


def all_entries() -> tuple[list[Entry], list[FormatError]]:
    """Every entry by name, and what is wrong with those that cannot be read."""
    found, damaged = [], []
    try:
        paths = sorted(places.names_folder().glob("*.json"))
    except OSError:
        paths = []
    for path in paths:
        try:
            found.append(read_entry(path))
        except FormatError as error:
            if path.exists():  # not removed by another process meanwhile
                damaged.append(error)
    return found, damaged


def make_folder(folder: Path) -> None:
    """Make a folder of the store, for its owner alone. Errors: UsageError when it cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder {shown(folder)} cannot be made: {error.strerror or error}"
        raise UsageError(problem, hint="name another with PACOS_HOME") from error


@contextmanager
def changing() -> Iterator[None]:
    """Change names and files while no other process does. Errors: UsageError for a place that cannot be written;
    PacosError when another process takes too long.
    """
    from filelock import FileLock, Timeout

    make_folder(places.locks_folder())
    try:
        with FileLock(places.locks_folder() / "store.lock", timeout=_LOCK_SECONDS):
            yield
    except Timeout:
        raise PacosError("another process changes the store and does not end", hint="try again later") from None
    except PermissionError as error:
        problem = f"the store cannot be written: {error.strerror}: {error.filename}"
        raise UsageError(problem, hint="it is read-only for you; name another with PACOS_HOME") from error


def inside(path: Path) -> str:
    """How an entry names a path: below the store's home where it lies there."""
    whole = Path(os.path.abspath(path))
    home = places.home()
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else str(whole)
