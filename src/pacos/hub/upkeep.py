"""Remove models, find what nothing needs any more, and check that every file holds what it should."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pacos.errors import FormatError, ModelNotFound, UsageError
from pacos.formats import open_archive
from pacos.formats.wording import shown
from pacos.hub import hub_cache
from pacos.hub.digests import GIT_SHA1, SHA256, file_digest
from pacos.hub.entries import Entry, all_entries, changing, find_entry, remove_entry
from pacos.hub.spelling import hub_name
from pacos.hub.store import BUNDLED, Store, own_files, remedy
from pacos.settings import places

_RECENT_SECONDS = 3600  # what is younger may belong to a download that runs
_BLOB = re.compile(r"sha256-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file of the store, and what repairs it."""

    path: Path
    problem: str
    hint: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Needless:
    """What nothing needs, why, and the bytes that it takes."""

    path: Path
    why: str
    bytes: int


def remove(name: str, *, force: bool = False) -> int:
    """Remove a name or the files of a repository, and what only it needed; tells how many bytes became free.

    Files that lie outside the store stay.
    Errors: ModelNotFound; UsageError for one that other names stand for, without `force`.
    """
    with changing():
        entry = find_entry(name)
        if entry is not None:
            _refuse_if_needed({entry.name.lower()}, name, force=force)
            remove_entry(entry.name)
            return _remove_owned(entry)
        wanted = hub_name(name)
        root = places.hub_folder()
        models = [] if wanted is None else hub_cache.hub_models(root, wanted.repo)
        if wanted is not None and (wanted.quant or wanted.file):
            found = Store().find(name)
            models = [model for model in models if found is not None and model.path == found.path]
        if wanted is None or not models:
            folder = None if wanted is None else hub_cache.repo_folder(root, wanted.repo)
            if folder is not None and folder.is_dir() and not (wanted and (wanted.quant or wanted.file)):
                freed = _size(folder)  # only remains of downloads
                shutil.rmtree(folder)
                return freed
            if name in BUNDLED:
                problem = f"{shown(name)} is a bundled model, a part of Pacos itself"
                raise UsageError(problem, hint="only what was pulled, imported or named goes")
            raise ModelNotFound(f"no model {shown(name)} in the store", hint="`pacos list` shows what there is")
        _refuse_if_needed({str(model.name).lower() for model in models} | {wanted.repo.lower()}, name, force=force)
        folder = hub_cache.repo_folder(root, wanted.repo)
        if wanted.quant or wanted.file:
            return hub_cache.remove_files(folder, models[0].files)
        freed = _size(folder)
        shutil.rmtree(folder)
        return freed


def _refuse_if_needed(names: set[str], name: str, *, force: bool) -> None:
    needing = [one.name for one in all_entries()[0] if one.model.lower() in names]
    if needing and not force:
        problem = f"{shown(name)} is what the names {', '.join(needing[:5])} stand for"
        raise UsageError(problem, hint="remove those first, or give --force")


def _remove_owned(entry: Entry) -> int:
    """Remove the files of an entry that is gone, where no other entry has them."""
    if not entry.path or Path(entry.path).is_absolute():
        return 0
    needed = {os.path.realpath(file) for one in all_entries()[0] for file in own_files(one)}
    freed = 0
    for file in own_files(entry):
        if os.path.realpath(file) not in needed:
            with suppress(FileNotFoundError):
                freed += file.stat().st_size
                file.unlink()
    for folder in (entry.target, entry.target.parent):
        if folder.is_dir() and folder.is_relative_to(places.files_folder()) and folder != places.files_folder():
            with suppress(OSError):
                folder.rmdir()
    return freed


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def needless() -> Iterator[Needless]:
    """What `pacos prune` removes: remains of downloads, contents and files without a name, names without a model.

    Files that are younger than an hour are left out: they may be about to get their name.
    """
    old = time.time() - _RECENT_SECONDS
    entries, damaged = all_entries()
    named = {os.path.realpath(file) for one in entries for file in own_files(one)}
    for folder in (places.files_folder(), places.blobs_folder()):
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.is_file() and os.path.realpath(path) not in named and path.stat().st_mtime < old:
                yield Needless(path, "no name leads to it", path.stat().st_size)
    for repo in hub_cache.repos(places.hub_folder()):
        root = hub_cache.repo_folder(places.hub_folder(), repo)
        linked = hub_cache.links(root)
        for path in (root / "blobs").glob("*"):
            if path.name not in linked and path.is_file() and path.stat().st_mtime < old:
                partial = ".incomplete" in path.name
                why = "a download that did not end" if partial else "no file of the repository has this content"
                yield Needless(path, why, path.stat().st_size)
        for path in (root / "snapshots").rglob("*"):
            if path.is_symlink() and not path.exists():
                yield Needless(path, "its content is gone", 0)
    if damaged:
        for path in sorted(places.names_folder().glob("*.json")):
            if any(shown(path) in error.message for error in damaged):
                yield Needless(path, "damaged", path.stat().st_size)


def verify(
    names: list[str], *, repair: bool = False, seen: Callable[[int], None] = lambda count: None
) -> Iterator[Fault]:
    """Read every file of the store, or of the models of these names, and tell which do not hold what they should.

    Files whose content nobody told in advance are opened as models. `repair` removes what is damaged, so that the
    next pull fetches it. Errors: ModelNotFound.
    """
    store = Store()
    if not names:
        for error in store.damaged:
            yield Fault(places.names_folder(), error.message, error.hint or "")
        yield from _broken_names(store)
    for path, digest, again in _all_files(store, names):
        problem = _problem(path, digest, seen)
        if problem is not None:
            ours = any(path.is_relative_to(root) for root in (places.home(), places.hub_folder()))
            if repair and ours and not path.is_symlink():
                path.unlink(missing_ok=True)
            yield Fault(path, problem, again, repaired=repair and ours)


def bytes_to_verify(names: list[str]) -> int:
    """How much `verify` will read."""
    return sum(path.stat().st_size for path, _, _ in _all_files(Store(), names) if path.is_file())


def _broken_names(store: Store) -> Iterator[Fault]:
    for entry in store.entries:
        try:
            found = store.find(entry.name)
            if found is not None:
                found.bytes  # noqa: B018 - raises where a file is gone
        except (ModelNotFound, FormatError) as error:
            yield Fault(places.names_folder(), error.message, error.hint or "")


def _all_files(store: Store, names: list[str]) -> Iterator[tuple[Path, str, str]]:
    """Files of the store, the digest that each must have ("" where unknown), and how to get it again."""
    wanted = [store.find(name) for name in names]
    for name, found in zip(names, wanted, strict=True):
        if found is None:
            raise ModelNotFound(f"no model {shown(name)} in the store", hint="`pacos list` shows what there is")
    files = {os.path.realpath(file) for found in wanted if found is not None for file in found.files}
    done: set[str] = set()
    for entry in store.entries:
        for file in own_files(entry):
            real = os.path.realpath(file)
            if file.is_file() and real not in done and (not names or real in files):
                done.add(real)
                digest = entry.digests.get(file.name) or (file.name[7:] if _BLOB.fullmatch(file.name) else "")
                yield file, digest, remedy(entry.name, entry.source)
    root = places.hub_folder()
    for repo in hub_cache.repos(root):
        folder = hub_cache.repo_folder(root, repo)
        linked = hub_cache.links(folder)
        for blob in sorted((folder / "blobs").glob("*")):
            if ".incomplete" in blob.name or (names and os.path.realpath(blob) not in files):
                continue
            label = linked[blob.name][0].name if blob.name in linked else ""
            digest = blob.name if SHA256.fullmatch(blob.name) or GIT_SHA1.fullmatch(blob.name) else ""
            yield blob, digest, f"`pacos pull {repo}{'/' + label if label else ''}` gets it again"


def _problem(path: Path, digest: str, seen: Callable[[int], None]) -> str | None:
    try:
        if digest:
            found = file_digest(path, digest, seen)
            return None if found == digest else f"its content is {found[:16]}..., needed is {digest[:16]}..."
        if path.suffix == ".gguf":
            open_archive(path).close()
        seen(path.stat().st_size)
    except FormatError as error:
        return error.message
    except ModelNotFound as error:
        return error.message
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None
