"""Fetch models: from a hub, from an Ollama registry, from a plain address."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pacos.errors import UsageError
from pacos.formats import open_archive
from pacos.hub import hub_cache
from pacos.hub.download import Content, check_room, download
from pacos.hub.entries import Entry, changing, entry_path, find_entry, inside, write_entry
from pacos.hub.hub_api import Hub, RepoFile
from pacos.hub.spelling import HubName, checked_name, hub_name, shard_of
from pacos.hub.variants import Variant, chosen, projector, variants
from pacos.hub.web import Refused, Web
from pacos.settings import places

Progress = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was fetched: the name that it can be run by, and its files."""

    name: str
    path: Path
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be pulled of a repository beside what its name says."""

    revision: str = "main"
    force: bool = False
    all: bool = False
    mmproj: bool = False


def hub_address(text: str) -> tuple[HubName, str] | None:
    """The model and the revision in an address of the hub's pages; None for another address."""
    from pacos.hub import endpoints

    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or endpoints.origin(text) != endpoints.origin(endpoints.hub()):
        return None
    found = re.fullmatch(r"/([^/]+/[^/]+)(?:/(?:resolve|blob|tree)/([^/]+)(?:/(.+))?)?/?", unquote(parts.path))
    name = hub_name(found[1]) if found is not None else None
    if found is None or name is None:
        return None
    return HubName(name.repo, file=found[3] or ""), found[2] or "main"


class HubPull:
    """A pull from a hub, before anything is fetched: what there is, and what is chosen."""

    def __init__(self, name: HubName, wish: Wish) -> None:
        self._web = Web(Hub.credentials())
        self._wish = wish
        self._hub = Hub(self._web)
        try:
            self.repo = name.repo
            self.commit = self._hub.commit(name.repo, wish.revision)
            self.files = self._hub.files(name.repo, self.commit)
            self.variants: list[Variant] = variants(self.files)
            self.chosen = chosen(self.variants, self.files, name)
        except BaseException:
            self._web.close()
            raise

    def run(self, progress: Progress = silent) -> Pulled:
        """Fetch it. Errors: DownloadError; ModelNotFound; CapacityError when the disk has no room; UsageError."""
        with self._web:
            folder = hub_cache.repo_folder(places.hub_folder(), self.repo)
            files = self._wanted()
            if self._wish.force:
                self._drop(folder, files)
            missing = [file for file in files if not (folder / "blobs" / file.digest).is_file()]
            check_room(folder, sum(file.bytes for file in missing), self.repo)
            done, total = 0, sum(file.bytes for file in files)
            places_made = []
            for file in files:
                before = done
                places_made.append(
                    self._fetch(
                        folder,
                        file,
                        lambda count, file=file, before=before: progress(  # type: ignore[misc]
                            file.path, before + count, total
                        ),
                    )
                )
                done += file.bytes
            hub_cache.write_ref(folder, self._wish.revision, self.commit)
        main = [place for place, file in zip(places_made, files, strict=True) if file in self.chosen.files]
        first = main[0].parent if self.chosen.label == "" else main[0]
        return Pulled(self.name, first, tuple(places_made))

    @property
    def name(self) -> str:
        """What the chosen model can be run by."""
        label = self.chosen.label
        return str(HubName(self.repo, file=label) if label.endswith(".gguf") else HubName(self.repo, label))

    @property
    def offered(self) -> Sequence[Variant]:
        """What could be chosen."""
        return self.variants

    def _wanted(self) -> list[RepoFile]:
        found = list(self.chosen.files)
        if self._wish.all:
            found += [file for one in self.variants for file in one.files if file not in found]
        if self._wish.mmproj:
            pictures = projector(self.files)
            if pictures is None:
                raise UsageError(f"{self.repo} has no file for pictures", hint="drop --mmproj")
            found += [pictures] if pictures not in found else []
        return found

    def _drop(self, folder: Path, files: list[RepoFile]) -> None:
        for file in files:
            for ending in ("", ".incomplete", ".incomplete.json"):
                (folder / "blobs" / f"{file.digest}{ending}").unlink(missing_ok=True)

    def _fetch(self, folder: Path, file: RepoFile, seen: Callable[[int], None]) -> Path:
        blob = folder / "blobs" / file.digest
        content = Content(self._hub.url(self.repo, self.commit, file.path), file.digest, file.bytes, file.path)
        lock = folder.parent / ".locks" / folder.name / f"{file.digest}.lock"  # where huggingface_hub has its own
        try:
            download(self._web, content, blob, lock, seen)
        except Refused as error:
            raise self._hub.refusal(error, self.repo, file.path) from error
        return hub_cache.link_in(folder, self.commit, file.path, blob)


def pull_address(url: str, progress: Progress = silent, *, alias: str = "", force: bool = False) -> Pulled:
    """Fetch a GGUF file from a plain address. It gets the file's name, or `alias`.

    Errors: UsageError for an address or name that cannot be used; DownloadError; FormatError for what is no model.
    """
    from pacos.hub.endpoints import is_local

    parts = urlsplit(url)
    file = unquote(parts.path.rpartition("/")[2])
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError(f"{url[:100]!a} is no address that can be pulled from", hint="give https://.../NAME.gguf")
    if parts.scheme == "http" and not is_local(parts.hostname):
        raise UsageError(f"{url[:100]!a} is not encrypted", hint="use https")
    if not file.endswith(".gguf"):
        raise UsageError(f"{url[:100]!a} names no GGUF file", hint="give the address of the file itself")
    start, _, count = shard_of(file.removesuffix(".gguf"))
    name = checked_name(alias or start)
    if not force and find_entry(name) is not None:
        raise UsageError(f"there is a model {name}", hint="choose another --alias, or --force to replace it")
    folder = places.files_folder() / entry_path(name).stem
    files = [f"{start}-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)] if count > 1 else [file]
    names = files if alias == "" or count > 1 else [f"{entry_path(name).stem.replace('%', '_')}.gguf"]
    digests = {}
    with Web() as web:
        for part, each in zip(files, names, strict=True):
            target = folder / checked_name(each)
            if force:
                target.unlink(missing_ok=True)
            path = f"{parts.path.rpartition('/')[0]}/{quote(part)}"
            content = Content(parts._replace(path=path, fragment="").geturl(), shown=part)
            lock = places.locks_folder() / f"{folder.name}.lock"
            try:
                digests[each] = download(web, content, target, lock, lambda seen, each=each: progress(each, seen, -1))  # type: ignore[misc]
            except Refused as error:
                raise _refused(error, url) from error
    first = folder / names[0]
    try:
        open_archive(first).close()
    except BaseException:
        for each in names:
            (folder / each).unlink(missing_ok=True)
        raise
    with changing():
        write_entry(Entry(name, path=inside(first), source=url.partition("?")[0], digests=digests))
    return Pulled(name, first, tuple(folder / each for each in names))


def _refused(error: Refused, url: str) -> Exception:
    from pacos.errors import DownloadError, ModelNotFound
    from pacos.hub.web import where

    if error.status in (404, 410):
        return ModelNotFound(f"there is nothing at {where(url)}", hint="check the address")
    return DownloadError(f"{where(url)} refuses with status {error.status}", hint="does it need a login?")
