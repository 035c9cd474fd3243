"""Responses in a folder: one file each, under the name of whoever's they are, whole or not there also after a crash."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec

from pacos.errors import UsageError
from pacos.log import logger
from pacos.server.dialects.responses.reply import Response
from pacos.server.stream import json_bytes

FILES_MAX = 100_000
BYTES_MAX = 4 << 30
_NAME = re.compile(r"resp_[0-9a-f]{1,64}", re.ASCII)
_BEGUN_SECONDS = 3600  # a file that is begun and this old was left by a crash


class Written(msgspec.Struct):
    """What a file holds."""

    response: Response
    inputs: list[dict[str, Any]]


class ResponseFolder:
    """The latest responses, bounded by number and by size; from many threads.

    Several servers may share a folder: each finds what the others wrote, and bounds what it has seen itself.
    Errors: UsageError when it cannot be made.
    """

    def __init__(self, place: str) -> None:
        self._folder = folder = Path(place).expanduser()
        self._turn = threading.Lock()
        self._sizes: OrderedDict[Path, int] = OrderedDict()  # the oldest first
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._look()
        except OSError as error:
            problem = f"responses cannot be kept in {folder}: {error.strerror}"
            raise UsageError(problem, hint="give another --responses-dir") from None
        self._bytes = sum(self._sizes.values())

    def _look(self) -> None:
        found = []
        for path in self._folder.glob("*/resp_*"):
            seen = path.stat()
            if path.suffix == ".json":
                found.append((seen.st_mtime, path, seen.st_size))
            elif time.time() - seen.st_mtime > _BEGUN_SECONDS:
                path.unlink(missing_ok=True)
        self._sizes.update((path, size) for _, path, size in sorted(found))

    def _path(self, name: str, owner: str) -> Path:
        return self._folder / hashlib.sha256(owner.encode()).hexdigest()[:32] / f"{name}.json"

    def write(self, response: Response, inputs: list[dict[str, Any]], owner: str) -> None:
        """Keep a response; the oldest ones give way. Errors: OSError."""
        data = json_bytes(Written(response, inputs))
        path = self._path(response.id, owner)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        begun = path.with_suffix(".new")
        with os.fdopen(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(begun, path)
        with self._turn:
            self._sizes[path] = len(data)
            self._bytes += len(data)
            while len(self._sizes) > FILES_MAX or self._bytes > BYTES_MAX:
                old, size = self._sizes.popitem(last=False)
                self._bytes -= size
                old.unlink(missing_ok=True)

    def read(self, name: str, owner: str) -> Written | None:
        """A kept response; None where there is none, or its file is damaged."""
        if not _NAME.fullmatch(name):
            return None
        path = self._path(name, owner)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Written)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            logger(__name__).warning("%s cannot be read: %s", path, error)
            return None

    def remove(self, name: str, owner: str) -> None:
        """Let go of a response."""
        path = self._path(name, owner)
        path.unlink(missing_ok=True)
        with self._turn:
            self._bytes -= self._sizes.pop(path, 0)
