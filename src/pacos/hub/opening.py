"""Open a model whatever its form: what reads folders is imported for folders alone."""

from __future__ import annotations

import os
from pathlib import Path

from pacos.formats import open_archive
from pacos.types import Archive

CONFIG_NAME = "config.json"
PARAMS_NAME = "params.json"  # of the folders that Meta and Mistral publish


def open_model(path: str | os.PathLike[str]) -> Archive:
    """Open a GGUF file, a Hugging Face folder with config.json, or one of Meta's with params.json.

    Errors: ModelNotFound, FormatError, UnsupportedModel, CapacityError.
    """
    given = Path(path)
    if (given / CONFIG_NAME).is_file():
        from pacos.hub.adopt import adopt_folder

        return adopt_folder(given)
    if (given / PARAMS_NAME).is_file():
        from pacos.hub.meta_folder import adopt_meta

        return adopt_meta(given)
    return open_archive(given)
