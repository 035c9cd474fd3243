"""Repositories on disk, in the layout of Hugging Face's cache, which their programs share.

    models--org--name/refs/main                        the commit that the revision means
                      blobs/<digest>                   contents: SHA-256, or git's name for small files
                      snapshots/<commit>/<file>        a link to ../../blobs/<digest>

A file appears in a snapshot only once its content is whole and verified.
Source: huggingface_hub's description of its cache.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pacos.formats.atomic import atomic_file
from pacos.hub.opening import CONFIG_NAME
from pacos.hub.spelling import HubName, preference, quant_of, shard_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
_START = "models--"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A whole model of a repository: its `files` in one snapshot, of which `path` is to be opened."""

    name: HubName
    commit: str
    path: Path
    files: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """What its files take."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def modified(self) -> float:
        """When its content was written."""
        return max(file.stat().st_mtime for file in self.files)


def repo_folder(root: Path, repo: str) -> Path:
    """The folder of a repository."""
    return root / (_START + repo.replace("/", "--"))


def repos(root: Path) -> list[str]:
    """The repositories that have a folder, by name."""
    try:
        names = [entry.name for entry in os.scandir(root) if entry.name.startswith(_START)]
    except OSError:
        return []
    return sorted(name.removeprefix(_START).replace("--", "/", 1) for name in names)


def commit_of(folder: Path, revision: str = "main") -> str | None:
    """The commit that a revision meant when it was downloaded; without a note of it the newest snapshot's."""
    with suppress(OSError, ValueError):
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
        if _COMMIT.fullmatch(commit) and (folder / "snapshots" / commit).is_dir():
            return commit
    found = _snapshots(folder)
    return found[0].name if found else None


def _snapshots(folder: Path) -> list[Path]:
    """Snapshots, the newest first."""
    try:
        found = [path for path in (folder / "snapshots").iterdir() if _COMMIT.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []


def hub_models(root: Path, repo: str) -> list[HubModel]:
    """The whole models of a repository: each from the commit of `main`, else from the newest snapshot that has it."""
    folder = repo_folder(root, repo)
    first = commit_of(folder)
    found: dict[str, HubModel] = {}
    for snapshot in sorted(_snapshots(folder), key=lambda path: path.name != first):
        for model in _in_snapshot(repo, snapshot):
            found.setdefault(f"{model.name}", model)
    return sorted(found.values(), key=lambda model: preference(model.name.quant))


def _in_snapshot(repo: str, snapshot: Path) -> Iterator[HubModel]:
    groups: dict[str, list[Path]] = defaultdict(list)
    files = [path for path in sorted(snapshot.rglob("*")) if path.is_file()]  # a link without its content is none
    for path in files:
        if path.suffix == ".gguf" and not path.name.lower().startswith("mmproj"):
            groups[str(path.with_name(shard_of(path.stem)[0]))].append(path)
    quants = [quant_of(paths[0].relative_to(snapshot).as_posix()) for paths in groups.values()]
    for quant, paths in zip(quants, groups.values(), strict=True):
        if len(paths) == shard_of(paths[0].stem)[2]:
            relative = paths[0].relative_to(snapshot).as_posix()
            name = HubName(repo, quant) if quant and quants.count(quant) == 1 else HubName(repo, file=relative)
            yield HubModel(name, snapshot.name, paths[0], tuple(paths))
    tensors = [path for path in files if path.suffix == ".safetensors" and path.parent == snapshot]
    if tensors and (snapshot / CONFIG_NAME).is_file() and _has_all(tensors):
        yield HubModel(HubName(repo), snapshot.name, snapshot, tuple(p for p in files if p.parent == snapshot))


def _has_all(tensors: list[Path]) -> bool:
    return all(len(tensors) >= shard_of(path.stem)[2] for path in tensors)


def link_in(folder: Path, commit: str, file: str, blob: Path) -> Path:
    """Make a content appear under its name in a snapshot: a link, else a copy where the system has none."""
    place = folder / "snapshots" / commit / file
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{secrets.token_hex(8)}.link")
    try:
        try:
            fresh.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:  # Windows without the right to; file systems without links
            try:
                os.link(blob, fresh)
            except OSError:
                shutil.copyfile(blob, fresh)
        os.replace(fresh, place)
    finally:
        with suppress(OSError):
            fresh.unlink()
    return place


def write_ref(folder: Path, revision: str, commit: str) -> None:
    """Note which commit a revision means."""
    if revision != commit:
        (folder / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "refs" / revision) as file:
            file.write(commit.encode())


def links(folder: Path) -> dict[str, list[Path]]:
    """Of each content, by the name of its blob, the files of snapshots that link to it."""
    found: dict[str, list[Path]] = defaultdict(list)
    blobs = os.path.realpath(folder / "blobs")
    for path in (folder / "snapshots").rglob("*"):
        if path.is_symlink():
            target = os.path.realpath(path)
            if os.path.dirname(target) == blobs:
                found[os.path.basename(target)].append(path)
    return found


def remove_files(folder: Path, files: tuple[Path, ...]) -> int:
    """Remove files of snapshots, and the contents that no other file has; tells how many bytes that freed."""
    before = links(folder)
    gone = set(files)
    freed = 0
    for path in files:
        size = path.stat().st_size if not path.is_symlink() else 0
        path.unlink(missing_ok=True)
        freed += size
    for blob, paths in before.items():
        if set(paths) <= gone:
            content = folder / "blobs" / blob
            with suppress(OSError):
                freed += content.stat().st_size
                content.unlink()
    for snapshot in _snapshots(folder):
        for inner in sorted((path for path in snapshot.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                inner.rmdir()
        with suppress(OSError):
            snapshot.rmdir()
    if not _snapshots(folder) and not any((folder / "blobs").glob("*.incomplete*")):
        shutil.rmtree(folder, ignore_errors=True)
    return freed
