"""A cache of prompts on disk that survives restarts: full pages, each a file named by all the text up to its end.

A file's name is a hash of the model's identity, the salt, and every token up to the page's end: a page is found by
what it holds, and right wherever it is found. The begun page of a text is a file named by the text up to its start: the
next text that goes on from there has its place. Of an encoder-decoder sources are kept, whose last page need not be
full; all pages of one serve, or none. Files appear whole or not at all, carry a checksum, and are read by any number of
processes while others write or remove them. Pages are copied between steps and written by a thread; what it cannot keep
up with, or what does not fit, is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacos.backends import Pages
from pacos.engine.page_file import CHECKSUM_BYTES, PageReader, checksum, first_failing
from pacos.engine.pages import common_bytes
from pacos.errors import UsageError
from pacos.formats.wording import shown
from pacos.log import logger

_MAGIC = b"PACOSPG2"
_KEY_BYTES = 32
_START_BYTES = len(_MAGIC) + _KEY_BYTES + 4  # then the tokens of a begun page, the checksum, the page
_TOKEN_BYTES = 4
_LISTED_MAX = 20_000  # pages that wait to be copied
_WRITES_MAX = 64  # copies that wait to be written
_READS_PER_STEP, _LOOKS_PER_STEP = 4, 64  # pages copied, or found on disk already, between two steps
_WRITES_PER_COUNT = 256  # other processes write too
_STALE_SECONDS = 3600  # a part that old was left by a process which is no more
_ENOUGH = 0.9  # of the size that is left after making room
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Wish:
    """A page to save while `is_same` says that it holds what it held; of a begun one, the tokens that it holds."""

    page: int
    is_same: Callable[[], bool]
    key: bytes
    place: int
    tokens: bytes


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
        self._to_read: deque[_Wish] = deque()
        self._to_write: queue.SimpleQueue[tuple[_Wish, bytes] | None] = queue.SimpleQueue()
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
            before = keys[-1] if keys else self._text_root(salt)
            keys.append(hashlib.sha256(before + tokens[start : start + size].tobytes()).digest())

    def has(self, key: bytes) -> bool:
        """Whether there is a page of that name."""
        return self._path(key).exists()

    def begun_key(self, keys: list[bytes], salt: str) -> bytes:
        """The key of the page that follows pages of these keys and is not full."""
        return hashlib.sha256(b"begun" + (keys[-1] if keys else self._text_root(salt))).digest()

    def restore(self, keys: Sequence[bytes], pages: Sequence[int], place: int) -> int:
        """Fill pages with those that follow each other from that place on in a text; gives how many of the first are.

        There may be no files of the others, or damaged ones, which are removed.
        """
        count = first_failing(lambda i: self._read(keys[i], place + i, pages[i]) is not None, len(pages))
        self.pages_restored += count
        return count

    def restore_begun(self, key: bytes, page: int, place: int, wanted: bytes) -> int:
        """Fill a page with a begun one, if it begins as these tokens do; gives for how many tokens it serves."""
        found = self._read(key, place, page, wanted)
        self.pages_restored += bool(found)
        return found or 0

    def _read(self, key: bytes, place: int, page: int, wanted: bytes = b"") -> int | None:
        """Fill a page from its file; gives how many of its tokens are wanted ones, None when it is not filled.

        A damaged file is removed.
        """
        path = self._path(key)
        try:
            with path.open("rb", buffering=0) as stream:
                start = stream.read(_START_BYTES)
                size = int.from_bytes(start[-4:], "little")
                good = start[:-4] == _MAGIC + key and size <= self._pages.layout.page_tokens * _TOKEN_BYTES
                tokens = stream.read(size) if good else b""
                count = common_bytes(tokens, wanted) // _TOKEN_BYTES
                if good and wanted and not count:
                    return None
                begun, found = stream.read(CHECKSUM_BYTES), memoryview(bytearray(1))
                reader, offset = PageReader(stream), len(start) + size + CHECKSUM_BYTES

                def read(parts: list[memoryview]) -> bool:
                    whole = reader.read(parts, offset) and not reader.read([found], offset + self._pages.page_bytes)
                    return whole and checksum([start, tokens, *parts]) == begun

                good = good and self._pages.fill(page, read)
                if good:
                    with contextlib.suppress(OSError):
                        _touch(path, place)
                    return count
        except OSError:
            return None
        logger(__name__).warning("the prompt cache has a damaged page, %s: removed", shown(path))
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def save(self, page: int, is_same: Callable[[], bool], key: bytes, place: int, tokens: bytes = b"") -> None:
        """Have a page written soon, while `is_same` says that it holds what it holds now; `tokens` of a begun one."""
        if self._working and len(self._to_read) < _LISTED_MAX:
            self._to_read.append(_Wish(page, is_same, key, place, tokens))

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
            wish = self._to_read.popleft()
            if wish.is_same() and (wish.tokens or not self.has(wish.key)):
                self._to_write.put((wish, self._pages.read(wish.page)))
                read += 1

    def close(self) -> None:
        """Write what is left, as far as a few seconds allow."""
        end = time.monotonic() + _CLOSE_SECONDS
        while self._to_read and self._working and time.monotonic() < end:
            self.work()
            time.sleep(0.001)
        self._to_write.put(None)
        self._writer.join(max(0.1, end - time.monotonic()))

    def _text_root(self, salt: str) -> bytes:
        return self._root + salt.encode("utf-8", "surrogatepass")

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

    def _write(self, wish: _Wish, body: bytes) -> None:
        path = self._path(wish.key)
        start = b"".join((_MAGIC, wish.key, len(wish.tokens).to_bytes(4, "little"), wish.tokens))
        size = len(start) + CHECKSUM_BYTES + len(body)
        self._writes += 1
        if self._used + size > self._size_bytes or self._writes % _WRITES_PER_COUNT == 0:
            self._used = self._make_room()
            if self._used + size > self._size_bytes:
                return
        part = self._folder / f".{wish.key.hex()}.{os.getpid()}.{threading.get_ident()}.part"
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.writelines((start, checksum([start, body]), body))
            _touch(part, wish.place)
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        self._used += size
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
