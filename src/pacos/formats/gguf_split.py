"""Names of the parts of a split GGUF model: model-00001-of-00003.gguf.

Source: llama.cpp's gguf-split; keys split.no (from 0), split.count and split.tensors.count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, ModelNotFound
from pacos.formats.gguf_types import MAX_PARTS
from pacos.formats.wording import shown

SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")
_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def part_number(name: str, metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Which part the file is, from 0, and how many there are; (0, 1) for a file that is not split.

    Errors: FormatError when the keys make no sense.
    """
    count, number = metadata.get("split.count", 1), metadata.get("split.no", 0)
    for key, value in (("split.count", count), ("split.no", number)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise FormatError(f"{name}: {key} must be a whole number, not {shown(value)}", hint="is the file damaged?")
    if not 1 <= count <= MAX_PARTS:
        raise FormatError(f"{name}: split.count is {count}, needed is 1 to {MAX_PARTS}", hint="is the file damaged?")
    if not 0 <= number < count:
        raise FormatError(f"{name}: split.no is {number} of {count} parts", hint="is the file damaged?")
    return number, count


def part_paths(path: Path, number: int, count: int) -> list[Path]:
    """Paths of all parts, beside the one that was given, which is part `number`.

    Errors: FormatError when the file's name does not say which part it is; ModelNotFound when a part is missing.
    """
    match = _NAME.fullmatch(path.name)
    wanted = f"-{number + 1:05}-of-{count:05}.gguf"
    if match is None or (int(match["number"]), int(match["count"])) != (number + 1, count):
        problem = f"{shown(path)}: part {number + 1} of {count} by its header, but not by its name"
        raise FormatError(problem, hint=f"give the files their names back: this one ends in {wanted}")
    paths = [path.with_name(f"{match['prefix']}-{index + 1:05}-of-{count:05}.gguf") for index in range(count)]
    for part in paths:
        if not os.path.lexists(part):
            problem = f"{shown(part)}: this part of the model is missing"
            raise ModelNotFound(problem, hint=f"all {count} parts must lie in one folder; download it")
    return paths
