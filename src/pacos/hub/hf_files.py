"""Read the small JSON files of a Hugging Face folder, with limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, ModelNotFound

JSON_BYTES_MAX = 128 << 20


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Errors: ModelNotFound when there is none; FormatError when it is too large or no JSON object.
    """
    try:
        size = path.stat().st_size
        if size > JSON_BYTES_MAX:
            raise FormatError(f"{path}: {size} bytes, at most {JSON_BYTES_MAX} are read")
        parsed = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path}: there is no such file", hint="is the folder complete?") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no valid JSON: {error}", hint="download it again") from error
    if not isinstance(parsed, dict):
        raise FormatError(f"{path}: needed is a JSON object, found {type(parsed).__name__}")
    return parsed


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty when there is no file."""
    return read_json(path) if path.is_file() else {}


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Errors: FormatError for one that is too large or no UTF-8."""
    try:
        if path.stat().st_size > JSON_BYTES_MAX:
            raise FormatError(f"{path}: {path.stat().st_size} bytes, at most {JSON_BYTES_MAX} are read")
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as UTF-8 text: {error}") from error


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Turn what an unforeseen JSON type breaks into one error; every value that matters is checked by its reader.

    Errors: FormatError naming `what`.
    """
    try:
        yield
    except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError) as error:
        hint = "download it again, or save it anew with transformers"
        raise FormatError(f"{what}: not in the form that transformers writes: {error}", hint=hint) from error
