"""Say in GGUF's words what a sentence-transformers folder makes of hidden states: one vector of many, and its layers.

Source: sentence-transformers' modules.json, and config.json of the modules Pooling and Dense.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.mapped import MappedArchive
from pacos.hub.hf_files import read_json_if_there
from pacos.models.blocks import PROJECTIONS
from pacos.settings.embed import POOLINGS

_MODES = {
    **{"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"},
    **{"pooling_mode_mean": "mean", "pooling_mode_cls": "cls"},
}


@dataclass(frozen=True, slots=True)
class MadeTensor:
    """A tensor that is held in memory, f32."""

    shape: tuple[int, ...]
    values: array[float]


def pooling_metadata(folder: Path, architecture: str) -> dict[str, Any]:
    """`pooling_type`, or nothing when the folder does not say.

    Errors: FormatError for a pooling of another kind, or modules.json that is no list.
    """
    places = _places(folder, "Pooling")
    if not places:
        return {}
    config = read_json_if_there(places[0] / "config.json")
    modes = [mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on]
    modes += [f"pooling_mode_{config['pooling_mode']}"] if "pooling_mode" in config else []  # since version 5
    if len(modes) != 1 or modes[0] not in _MODES:
        known = ", ".join(_MODES)
        raise FormatError(f"{places[0]}: the pooling is {modes}, supported is one of {known}")
    return {f"{architecture}.pooling_type": POOLINGS.index(_MODES[modes[0]])}


def projections(
    folder: Path, read: Callable[[Path], MappedArchive], widened: Callable[[memoryview, str], array[float]]
) -> Mapping[str, MadeTensor]:
    """The linear layers behind the pooling, by GGUF's names. `read` opens weights, `widened` makes f32 of them.

    Errors: UnsupportedModel for more layers than there are names, or one that is not linear alone; as `read`.
    """
    places = _places(folder, "Dense")
    if len(places) > len(PROJECTIONS):
        raise UnsupportedModel(f"{folder}: {len(places)} Dense modules, supported are {len(PROJECTIONS)}")
    found: dict[str, MadeTensor] = {}
    for name, place in zip(PROJECTIONS, places, strict=False):
        activation = str(read_json_if_there(place / "config.json").get("activation_function", ""))
        if not activation.endswith(".Identity"):
            problem = f"{place}: the activation of this Dense module is {activation!a}"
            raise UnsupportedModel(problem, hint="supported: torch.nn.modules.linear.Identity")
        archive = read(place)
        try:
            for key, entry in archive.tensors.items():
                made = MadeTensor(entry.shape, widened(archive.data(key), entry.type))
                found[f"{name}.{key.removeprefix('linear.')}"] = made
        finally:
            archive.close()
    return found


def projection_metadata(architecture: str, layers: Mapping[str, MadeTensor]) -> dict[str, int]:
    """How wide the layers behind the pooling are."""
    sizes = {name: layers[f"{name}.weight"].shape for name in PROJECTIONS if f"{name}.weight" in layers}
    ends = (("feat_out", 0), ("feat_in", 1))
    return {f"{architecture}.{name}_{end}": size[axis] for name, size in sizes.items() for end, axis in ends}


def _places(folder: Path, kind: str) -> list[Path]:
    """The folders of the modules of that kind, in order. Errors: FormatError for a list that is none."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        modules = json.loads(path.read_bytes())
        places = [str(one["path"]) for one in modules if str(one["type"]).endswith(f".{kind}")]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise FormatError(f"{path}: needed is a list of modules with path and type: {error}") from error
    for place in places:
        if ".." in Path(place).parts or Path(place).is_absolute():
            raise FormatError(f"{path}: the path {place!a} leaves the folder")
    return [folder / place for place in places]
