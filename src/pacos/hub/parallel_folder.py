"""Open folders whose experts lie in the parts of a tensor-parallel model, as Grok 2's do.

Files `*-TP-common.safetensors` hold what all parts share; `*-TP-000.safetensors` and on hold, under the same names, a
share of every expert's matrix each: some rows of w1 and w3, some columns of w2.
Source: sgl-project/sglang, models/grok.py; llama.cpp's converter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pacos.errors import FormatError, ModelNotFound, UnsupportedModel
from pacos.formats.mapped import MappedArchive
from pacos.formats.packed import Joined, Packed
from pacos.formats.safetensors import read_safetensors_files
from pacos.hub.quantized_folder import UnpackedArchive
from pacos.lazy import need_numpy

_FILE = re.compile(r".*-TP-(common|\d{3})\.safetensors")
_AXES = {"w1": 0, "w3": 0, "w2": 1}
_SPLIT = re.compile(r"\.experts\.\d+\.(w[123])\.weight$")


class JoinedParts(UnpackedArchive):
    """The first part, with matrices joined from all of them or from the others."""

    def __init__(self, folder: Path, parts: Sequence[MappedArchive], joined: Mapping[str, Packed]) -> None:
        super().__init__(parts[0], joined, set(joined))
        self.path = folder
        self._parts = parts

    def close(self) -> None:
        """Release all files."""
        for part in self._parts:
            with suppress(BufferError):
                part.close()


def parallel_weights(folder: Path) -> JoinedParts | None:
    """The weights of such a folder, experts' matrices whole; None for any other folder.

    Errors: ModelNotFound when a part is missing; FormatError when parts do not fit; UnsupportedModel for a tensor
    that is split in a way that is not known.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if found := _FILE.fullmatch(path.name):
            groups.setdefault(found[1], []).append(path)
    if not groups:
        return None
    shares = sorted(groups.keys() - {"common"})
    for name in ("common", *(f"{number:03}" for number in range(int(shares[-1]) + 1 if shares else 1))):
        if name not in groups:
            raise ModelNotFound(f"{folder}: the part *-TP-{name}.safetensors is missing", hint="download it")
    parts: list[MappedArchive] = []
    try:
        for name in ("common", *shares):  # one by one: the part that fails leaves the others to be closed
            parts.append(read_safetensors_files(folder, groups[name], {}))  # noqa: PERF401
        return JoinedParts(folder, parts, _joined(folder, parts[1:]))
    except BaseException:
        for part in parts:
            part.close()
        raise


def _joined(folder: Path, shares: Sequence[MappedArchive]) -> dict[str, Packed]:
    need_numpy("a model in several parts")
    made: dict[str, Packed] = {}
    for number, share in enumerate(shares):
        if share.tensors.keys() != shares[0].tensors.keys():
            raise FormatError(f"{folder}: part TP-{number:03} has other tensors than TP-000", hint="of another model?")
    for name, entry in shares[0].tensors.items():
        split = _SPLIT.search(name)
        if split is None or len(entry.shape) != 2:
            raise UnsupportedModel(f"{folder}: tensor '{name}' is split into parts, supported are experts' alone")
        found = [share.tensors[name] for share in shares]
        if any((one.shape, one.type) != (entry.shape, entry.type) for one in found):
            raise FormatError(f"{folder}: the parts of tensor '{name}' differ in form", hint="download them again")
        axis = _AXES[split[1]]
        shape = tuple(size * len(shares) if i == axis else size for i, size in enumerate(entry.shape))
        made[name] = Joined(shape, entry.type, tuple(share.data(name) for share in shares), axis)
    return made
