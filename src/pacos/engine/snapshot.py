"""A cache of prompts on disk that survives restarts: full pages, each a file named by all the text up to its end.

A file's name is a hash of the model's fingerprint, the salt, and every token up to the page's end: a page is found by
what it holds, and right wherever it is found. Files appear whole or not at all, carry a checksum, and are read by any
number of processes while others write or remove them. Of an encoder-decoder sources are kept, whose last page need not
be full; all pages of one serve, or none. Pages are copied between steps and written by a thread; what it cannot keep up
with, or what does not fit, is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import time
import zlib
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pacos.backends import Pages
from pacos.errors import UsageError
from pacos.formats.wording import shown
from pacos.ir.plan import Plan
from pacos.log import logger
from pacos.native import ABI_VERSION
from pacos.types import Archive

_MAGIC = b"PACOSPG1"
_KEY_BYTES = 32
_HEAD_BYTES = len(_MAGIC) + _KEY_BYTES + 4
_SAMPLE_BYTES = 4096
_LISTED_MAX = 20_000  # pages that wait to be copied
_WRITES_MAX = 64  # copies that wait to be written
_READS_PER_STEP, _LOOKS_PER_STEP = 4, 64  # pages copied, or found on disk already, between two steps
_WRITES_PER_COUNT = 256  # other processes write too
_STALE_SECONDS = 3600  # a part that old was left by a process which is no more
_ENOUGH = 0.9  # of the size that is left after making room
_CLOSE_SECONDS = 5.0


def fingerprint(archive: Archive, plan: Plan, *more: object) -> bytes:
    """A hash of all that the content of a page depends on, beside the tokens.

    Of each tensor three places are read, not all of it: models that differ, differ all over.
    """
    metadata = [pair for pair in sorted(archive.metadata.items()) if not pair[0].startswith("tokenizer.")]
    found = hashlib.sha256(repr((ABI_VERSION, plan.text(), metadata, *more)).encode("utf-8", "surrogatepass"))
    for name, entry in sorted(archive.tensors.items()):
        found.update(repr((name, entry.shape, entry.type)).encode())
        data = archive.data(name)
        for start in (0, len(data) // 2, max(0, len(data) - _SAMPLE_BYTES)):
            found.update(data[start : start + _SAMPLE_BYTES])
    return found.digest()


class PromptCache:
    """Pages on disk. Everything but the writing is done on the engine's thread.

    Units: `size_bytes` is what all files in the folder may take. Errors: UsageError for a folder that cannot be used.
    """

    def __init__(self, folder: Path, size_bytes: int, root: bytes, pages: Pages) -> None:
        self._folder = folder
        self._size_bytes = size_bytes
        self._root = root
        self._pages = pages
        self.pages_restored = 0
        self.pages_saved = 0
        self._to_read: deque[tuple[int, Callable[[], bool], bytes, int]] = deque()
        self._to_write: queue.SimpleQueue[tuple[bytes, bytes, int] | None] = queue.SimpleQueue()
        self._working = True
        self._writes = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._used = self._make_room()
        except OSError as error:
            problem = f"the prompt cache {shown(folder)} cannot be used: {error.strerror}"
            raise UsageError(problem, hint="give another --prompt-cache-dir") from error
        self._writer = threading.Thread(target=self._write_all, name="pacos-prompt-cache", daemon=True)
        self._writer.start()

    def add_keys(self, keys: list[bytes], salt: str, tokens: array[int], *, partly: bool = False) -> None:
        """Add the keys of a text's full pages from the first on that has none yet; `partly`: and of the last one."""
        size = self._pages.layout.page_tokens
        for start in range(len(keys) * size, len(tokens) if partly else len(tokens) - size + 1, size):
            before = keys[-1] if keys else self._root + salt.encode("utf-8", "surrogatepass")
            keys.append(hashlib.sha256(before + tokens[start : start + size].tobytes()).digest())

    def has(self, key: bytes) -> bool:
        """Whether there is a page of that name."""
        return self._path(key).exists()

    def restore(self, key: bytes, page: int, place: int) -> bool:
        """Fill a page with the one that has this place in its text.

        False when there is no such file, or a damaged one, which is removed.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return False
        body = memoryview(data)[_HEAD_BYTES:]
        if data[:_HEAD_BYTES] != _head(key, body) or len(body) != self._pages.page_bytes:
            logger(__name__).warning("the prompt cache has a damaged page, %s: removed", shown(path))
            with contextlib.suppress(OSError):
                path.unlink()
            return False
        self._pages.write(page, body)
        with contextlib.suppress(OSError):
            _touch(path, place)
        self.pages_restored += 1
        return True

    def save(self, page: int, is_same: Callable[[], bool], key: bytes, place: int) -> None:
        """Have a page written soon, while `is_same` says that it holds what it holds now."""
        if self._working and len(self._to_read) < _LISTED_MAX:
            self._to_read.append((page, is_same, key, place))

    @property
    def pending(self) -> bool:
        """Whether `work` has something to do."""
        return self._working and bool(self._to_read)

    def work(self) -> None:
        """Copy a few pages for the writer; a moment's work."""
        read = 0
        for _ in range(min(_LOOKS_PER_STEP, len(self._to_read))):
            if read == _READS_PER_STEP or self._to_write.qsize() >= _WRITES_MAX:
                return
            page, is_same, key, place = self._to_read.popleft()
            if is_same() and not self.has(key):
                self._to_write.put((key, self._pages.read(page), place))
                read += 1

    def close(self) -> None:
        """Write what is left, as far as a few seconds allow."""
        end = time.monotonic() + _CLOSE_SECONDS
        while self._to_read and self._working and time.monotonic() < end:
            self.work()
            time.sleep(0.001)
        self._to_write.put(None)
        self._writer.join(max(0.1, end - time.monotonic()))

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}.page"

    # On the writer's thread.

    def _write_all(self) -> None:
        while (found := self._to_write.get()) is not None:
            try:
                self._write(*found)
            except OSError as error:
                text = "the prompt cache %s takes no more: %s"
                logger(__name__).warning(text, shown(self._folder), error.strerror)
                self._working = False
                return

    def _write(self, key: bytes, body: bytes, place: int) -> None:
        path = self._path(key)
        self._writes += 1
        if self._used + _HEAD_BYTES + len(body) > self._size_bytes or self._writes % _WRITES_PER_COUNT == 0:
            self._used = self._make_room()
            if self._used + _HEAD_BYTES + len(body) > self._size_bytes:
                return
        part = self._folder / f".{key.hex()}.{os.getpid()}.{threading.get_ident()}.part"
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(_head(key, body))
                stream.write(body)
            then = (
                time.time() - place / 1000
            )  # of one text the last page looks oldest: without it the others still serve
            os.utime(part, (then, then))
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        self._used += _HEAD_BYTES + len(body)
        self.pages_saved += 1

    def _make_room(self) -> int:
        """Remove files until there is room, the least recently used first; gives the bytes that are left."""
        found: list[tuple[float, int, str]] = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(OSError):  # another process removed it
                status = entry.stat()
                if entry.name.endswith(".page"):
                    found.append((status.st_mtime, status.st_size, entry.path))
                elif entry.name.endswith(".part") and status.st_mtime < time.time() - _STALE_SECONDS:
                    os.unlink(entry.path)
        used = sum(size for _, size, _ in found)
        if used <= self._size_bytes * _ENOUGH:
            return used
        for _, size, path in sorted(found):
            if used <= self._size_bytes * _ENOUGH:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            used -= size
        return used


def _touch(path: Path, place: int) -> None:
    """Note a use. Of one text the last page looks the oldest: without it the others still serve."""
    then = time.time() - place / 1000
    os.utime(path, (then, then))


def _head(key: bytes, body: bytes | memoryview) -> bytes:
    return _MAGIC + key + zlib.crc32(body, zlib.crc32(key)).to_bytes(4, "little")
