"""Which files of a repository make a model, and which of several models is meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pacos.errors import ModelNotFound
from pacos.hub.hub_api import RepoFile
from pacos.hub.spelling import HubName, preference, quant_of, shard_of

_OF_FOLDERS = (".safetensors", ".json", ".jinja", ".txt", ".model")
_PICTURES = "mmproj"


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of a repository, by the quantization or the name of its file; "" is the folder of safetensors."""

    label: str
    files: tuple[RepoFile, ...]

    @property
    def bytes(self) -> int:
        """What its files take."""
        return sum(file.bytes for file in self.files)


def variants(files: Sequence[RepoFile]) -> list[Variant]:
    """The models of a repository, the preferred one first. Split files are one model; half of one is none."""
    groups: dict[str, list[RepoFile]] = defaultdict(list)
    for file in files:
        if file.path.endswith(".gguf") and not is_projector(file):
            groups[shard_of(file.path.removesuffix(".gguf"))[0]].append(file)
    whole = {
        start: sorted(parts, key=lambda file: file.path)
        for start, parts in groups.items()
        if len(parts) == shard_of(parts[0].path.removesuffix(".gguf"))[2]
    }
    quants = [quant_of(parts[0].path) for parts in whole.values()]
    found = [
        Variant(quant if quant and quants.count(quant) == 1 else parts[0].path, tuple(parts))
        for quant, parts in zip(quants, whole.values(), strict=True)
    ]
    top = [file for file in files if "/" not in file.path and file.path.endswith(_OF_FOLDERS)]
    names = {file.path for file in top}
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        found.append(Variant("", tuple(top)))
    return sorted(found, key=lambda one: (one.label == "", preference(quant_of(one.label) or one.label)))


def is_projector(file: RepoFile) -> bool:
    """Whether a file is what turns pictures into vectors for another model."""
    return file.path.rpartition("/")[2].lower().startswith(_PICTURES)


def projector(files: Sequence[RepoFile]) -> RepoFile | None:
    """The file for pictures: in F16 where there are several."""
    found = [file for file in files if is_projector(file) and file.path.endswith(".gguf")]
    return min(found, key=lambda file: (quant_of(file.path) != "F16", file.path), default=None)


def chosen(found: Sequence[Variant], files: Sequence[RepoFile], wanted: HubName) -> Variant:
    """The model that a name means. Errors: ModelNotFound with what there is."""
    if wanted.file:
        for one in found:
            if any(file.path.lower() == wanted.file.lower() for file in one.files):
                return one
        single = [file for file in files if file.path == wanted.file]
        by_name = [file for file in files if file.path.rpartition("/")[2] == wanted.file]
        if single or len(by_name) == 1:
            return Variant(wanted.file, tuple(single or by_name))
    elif wanted.quant:
        for one in found:
            if wanted.quant.lower() in (one.label.lower(), one.label.lower().removeprefix("ud-")):
                return one
    elif found:
        return found[0]
    labels = ", ".join(one.label or "safetensors" for one in found[:20])
    if not found:
        raise ModelNotFound(f"{wanted.repo} holds no model: neither GGUF files nor safetensors with config.json")
    raise ModelNotFound(f"{wanted.repo} has no {wanted.file or wanted.quant}", hint=f"it has {labels}")
