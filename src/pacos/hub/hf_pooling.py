"""Say in GGUF's metadata how a sentence-transformers folder makes one vector of many.

Source: sentence-transformers' modules.json and the Pooling module's config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pacos.errors import FormatError
from pacos.hub.hf_files import read_json_if_there
from pacos.settings.embed import POOLINGS

_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}


def pooling_metadata(folder: Path, architecture: str) -> dict[str, Any]:
    """`pooling_type`, or nothing when the folder does not say.

    Errors: FormatError for a pooling of another kind, or modules.json that is no list.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return {}
    try:
        modules = json.loads(path.read_bytes())
        places = [str(one["path"]) for one in modules if str(one["type"]).endswith(".Pooling")]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise FormatError(f"{path}: needed is a list of modules with path and type: {error}") from error
    if not places:
        return {}
    if ".." in Path(places[0]).parts or Path(places[0]).is_absolute():
        raise FormatError(f"{path}: the path {places[0]!a} leaves the folder")
    config = read_json_if_there(folder / places[0] / "config.json")
    modes = [mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on]
    if len(modes) != 1 or modes[0] not in _MODES:
        known = ", ".join(_MODES)
        raise FormatError(f"{folder / places[0]}: the pooling is {modes}, supported is one of {known}")
    return {f"{architecture}.pooling_type": POOLINGS.index(_MODES[modes[0]])}
