"""Fetch a model from an Ollama registry: its manifest, then the files that it lists, by their digests.

Source: the registry's interface, that of container registries: /v2/<name>/manifests/<tag> and /blobs/<digest>.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.errors import DownloadError, ModelNotFound, PacosError, UsageError
from pacos.formats import open_archive
from pacos.hub import endpoints
from pacos.hub.download import Content, check_room, download
from pacos.hub.entries import changing, find_entry, inside, write_entry
from pacos.hub.ollama_layers import MANIFEST_BYTES_MAX, Layer, entry_of, read_manifest
from pacos.hub.pull import Progress, Pulled, silent
from pacos.hub.spelling import OLLAMA_START, checked_name
from pacos.hub.web import Refused, Web
from pacos.settings import places

_LIBRARY = "library"  # the owner of names without one
_LATEST = "latest"


class OllamaPull:
    """A pull of NAME[:TAG] or OWNER/NAME[:TAG] from the registry, before anything but its list of files is fetched.

    Errors: UsageError for what is no such name; ModelNotFound; DownloadError; UnsupportedModel.
    """

    def __init__(self, text: str, *, alias: str = "", force: bool = False) -> None:
        owner, name, tag = _parts(text)
        self.shown = (f"{owner}/{name}" if owner != _LIBRARY else name) + f":{tag}"
        self.name = checked_name(alias or self.shown)
        before = find_entry(self.name)
        if before is not None and before.source != f"{OLLAMA_START}{self.shown}" and not force:
            raise UsageError(
                f"there is another model {self.name}", hint="choose another --alias, or --force to replace it"
            )
        self._start = f"{endpoints.ollama_registry()}/v2/{owner}/{name}"
        self._force = force
        with Web() as web:
            self._layers = _asked(web, f"{self._start}/manifests/{tag}", self.shown)

    @property
    def bytes(self) -> int:
        """What its files take."""
        return sum(layer.bytes for layer in self._layers)

    def run(self, progress: Progress = silent) -> tuple[Pulled, list[str]]:
        """Fetch it, and keep it under its name; notes tell what of it is not used.

        Errors: DownloadError; CapacityError when the disk has no room; FormatError.
        """
        blobs = places.blobs_folder()
        if self._force:
            for layer in self._layers:
                (blobs / layer.file_name).unlink(missing_ok=True)
        missing = [layer for layer in self._layers if not (blobs / layer.file_name).is_file()]
        check_room(blobs, sum(layer.bytes for layer in missing), self.shown)
        done = 0
        with Web() as web:
            for layer in self._layers:
                _fetch(web, self._start, layer, self.shown, progress, (done, self.bytes))
                done += layer.bytes
        weights = blobs / next(layer for layer in self._layers if layer.kind == "model").file_name
        open_archive(weights).close()
        entry, notes = entry_of(self.name, self._layers, blobs, inside(weights), f"{OLLAMA_START}{self.shown}")
        entry = replace(entry, blobs=tuple(layer.file_name for layer in self._layers))
        with changing():
            write_entry(entry)
        return Pulled(self.name, weights, tuple(blobs / layer.file_name for layer in self._layers)), notes


def _parts(text: str) -> tuple[str, str, str]:
    """Owner, name and tag. Errors: UsageError; the name of a machine is refused too."""
    whole, _, tag = text.partition(":")
    parts = whole.split("/")
    if len(parts) > 2 or text.endswith(":"):
        raise UsageError(f"{text[:100]!a} is no model of the registry", hint="give NAME[:TAG] or OWNER/NAME[:TAG]")
    checked_name(text)
    return (parts[0] if len(parts) == 2 else _LIBRARY), parts[-1], tag or _LATEST


def _asked(web: Web, url: str, shown: str) -> list[Layer]:
    try:
        data, _ = web.fetch(url, MANIFEST_BYTES_MAX)
    except Refused as error:
        raise _refusal(error, shown) from error
    return read_manifest(data, shown)


def _fetch(web: Web, start: str, layer: Layer, shown: str, progress: Progress, share: tuple[int, int]) -> None:
    blobs = places.blobs_folder()
    content = Content(f"{start}/blobs/sha256:{layer.digest}", layer.digest, layer.bytes, f"{shown} {layer.kind}")
    lock = places.locks_folder() / f"{layer.file_name}.lock"
    done, total = share
    try:
        download(
            web, content, blobs / layer.file_name, lock, lambda seen: progress(layer.file_name, done + seen, total)
        )
    except Refused as error:
        raise _refusal(error, shown) from error


def _refusal(error: Refused, shown: str) -> PacosError:
    if error.status == 404:
        return ModelNotFound(f"the registry has no model {shown}", hint="check the name and the tag")
    if error.status in (401, 403):
        return DownloadError(f"the registry does not let everybody have {shown}", hint="choose another model")
    return DownloadError(f"{shown}: the registry answers with status {error.status}", hint="try again later")
