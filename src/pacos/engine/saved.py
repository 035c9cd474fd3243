"""Computed texts in files: saved from the pages of the cache, and given back to it, here or in another process.

A file is bound to the model, to how its pages are laid out, and to the salt under which the text was computed. It
appears whole or not at all. Each page has a checksum; what was read becomes known only when all of it is right.
The tokens may be more than the pages know: the last one was chosen, and not computed. Those of an encoder-decoder are
a source, the token that its decoder starts from, and what that wrote.
Pages are copied a few at a time between steps, so that who generates does not wait for the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pacos.backends import Pages
from pacos.engine.errands import Errands
from pacos.engine.pages import PagePool
from pacos.engine.sequence import source_salt
from pacos.errors import CapacityError, FormatError, PacosError, UsageError
from pacos.formats.atomic import atomic_file
from pacos.formats.wording import shown

_MAGIC = b"PACOSTX2"
_HEAD_MAX = 4096
_PAGES_AT_ONCE = 8  # copied between two steps
_TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class SavedText:
    """What was saved or restored: the tokens, how many of them are computed, and the bytes of the file."""

    tokens: array[int]
    computed: int
    bytes: int


class SavedTexts:
    """Saves and restores texts of one engine; from any thread but the engine's.

    `identity` names all that the content of a page depends on beside the tokens. `salted` adds what adapters do to a
    salt. A decoder goes from its `start_token` on, when an encoder reads; else that is -1.
    """

    def __init__(
        self,
        pool: PagePool,
        pages: Pages,
        errands: Errands,
        identity: Callable[[], bytes] | None,
        salted: Callable[[str], str] = str,
        start_token: int = -1,
    ) -> None:
        self._pool = pool
        self._start_token = start_token
        self._salted = salted
        self._pages = pages
        self._errands = errands
        self._identity = identity

    @property
    def possible(self) -> bool:
        """Whether what is computed of a text can be saved: a recurrent model leaves more than pages behind."""
        return self._identity is not None and not self._pages.layout.states

    def save(self, tokens: array[int], salt: str, path: Path, *, tokens_alone: bool = False) -> SavedText:
        """Write a text and what the cache knows of it, from its start on, to a file.

        `tokens_alone` will do where nothing is known, or nothing can be saved.
        Errors: UsageError when they will not; CapacityError for a full disk.
        """
        salt = self._salted(salt)
        head = self._head(salt, tokens_alone=tokens_alone)
        pages, count, source = self._errands.ask(lambda: self._held(tokens, salt)) if self.possible else ([], 0, 0)
        try:
            if not count and not (tokens_alone and tokens):
                raise UsageError("nothing of this text is computed", hint="compute it first")
            head |= {"tokens": len(tokens), "computed": count, **({"source": source} if source else {})}
            text = json.dumps(head).encode()
            start = b"".join((_MAGIC, struct.pack("<I", len(text)), text, _little(tokens)))
            size = len(start) + 4 + len(pages) * (self._pages.page_bytes + 4)
            with atomic_file(path, size) as stream:
                if os.name == "posix":
                    os.fchmod(stream.fileno(), 0o600)  # it tells what was said
                stream.write(start + _checksum(start))
                for place, body in enumerate(self._bodies(pages)):
                    stream.write(body)
                    stream.write(_checksum(body, place))
            return SavedText(tokens[:], count, size)
        finally:
            with contextlib.suppress(PacosError):
                self._errands.ask(lambda: self._pool.release(pages))

    def restore(self, path: Path, salt: str) -> SavedText:
        """Give the cache a text back; prompts that begin with it find it.

        Errors: UsageError for no such file; FormatError for one that is damaged, of another model or salt;
        CapacityError when the cache has no room now.
        """
        salt = self._salted(salt)
        with _reading(path) as stream:
            tokens, computed, source = self._read_start(stream, path, salt)
            pages = self._errands.ask(lambda: self._allocated(computed)) if computed else []
            try:
                self._fill(stream, pages, path)
                if pages:
                    self._errands.ask(
                        lambda: self._publish(tokens[:computed], source_salt(salt, tokens[:source]), pages)
                    )
            finally:
                with contextlib.suppress(PacosError):
                    self._errands.ask(lambda: self._pool.release(pages))
            return SavedText(tokens, computed, stream.tell())

    def tokens(self, path: Path, salt: str) -> array[int]:
        """The tokens of a file, whatever its pages are like. Errors: as `restore`, but none for damaged pages."""
        with _reading(path) as stream:
            return self._read_start(stream, path, self._salted(salt))[0]

    def erase(self, tokens: array[int], salt: str, keep: int = 0) -> int:
        """Make a text unknown, but for the pages of its first `keep` tokens; who computes on it goes on.

        Gives the number of tokens that were known.
        """
        salt = self._salted(salt)

        def forgotten() -> int:
            known = 0
            while True:  # several pages may know the end of it
                pages, count, source = self._held(tokens, salt)
                self._pool.release(pages)
                kept = keep if keep >= source else 0  # of a source all pages serve, or none
                if count <= kept:
                    return known
                known = max(known, count)
                self._pool.forget(pages[kept // self._pool.page_tokens :])

        return self._errands.ask(forgotten)

    def _head(self, salt: str, *, tokens_alone: bool) -> dict[str, Any]:
        if self._identity is None or not (self.possible or tokens_alone):
            raise UsageError("texts of this model cannot be saved", hint="use --prompt-cache-dir with other models")
        return {
            "model": self._identity().hex(),
            "salt": hashlib.sha256(salt.encode("utf-8", "surrogatepass")).hexdigest(),
            "page_tokens": self._pool.page_tokens,
            "page_bytes": self._pages.page_bytes,
        }

    def _read_start(self, stream: BinaryIO, path: Path, salt: str) -> tuple[array[int], int, int]:
        """The tokens of a file whose head fits, how many are computed, and how many a source. Errors: FormatError."""
        name, size = shown(path.name), os.fstat(stream.fileno()).st_size
        start = stream.read(len(_MAGIC) + 4)
        length = int.from_bytes(start[len(_MAGIC) :], "little")
        if start[: len(_MAGIC)] != _MAGIC or not 0 < length <= _HEAD_MAX:
            raise FormatError(f"{name} is no saved text", hint="give the name of a saved one")
        start += stream.read(length)
        found = _object(start[len(_MAGIC) + 4 :])
        count, computed, source = (found.pop(key, 0) for key in ("tokens", "computed", "source"))
        for key, value in self._head(salt, tokens_alone=not computed).items():
            if found.get(key) != value:
                whose = (
                    "another API key or salt"
                    if key == "salt"
                    else "another model or version of Pacos, or of one opened otherwise"
                )
                raise FormatError(f"{name} is a text of {whose}", hint="compute the text anew and save it")
        whole = all(isinstance(one, int) for one in (count, computed, source))
        good = whole and 0 <= source <= computed <= count and count > 0
        pages = -(-computed // self._pool.page_tokens) if good else 0
        if not good or size != len(start) + count * _TOKEN_BYTES + 4 + pages * (self._pages.page_bytes + 4):
            raise FormatError(f"{name} is damaged: it has {size} bytes", hint="save the text anew")
        start += stream.read(count * _TOKEN_BYTES)
        if stream.read(4) != _checksum(start):
            raise FormatError(f"{name} is damaged: its head does not fit its checksum", hint="save the text anew")
        tokens = array("i")
        tokens.frombytes(start[-count * _TOKEN_BYTES :])
        return _swapped(tokens), computed, source

    def _fill(self, stream: BinaryIO, pages: list[int], path: Path) -> None:
        for first in range(0, len(pages), _PAGES_AT_ONCE):
            bodies = []
            for place, page in enumerate(pages[first : first + _PAGES_AT_ONCE], first):
                body = stream.read(self._pages.page_bytes)
                if stream.read(4) != _checksum(body, place):
                    problem = f"{shown(path.name)} is damaged: page {place} does not fit its checksum"
                    raise FormatError(problem, hint="save the text anew")
                bodies.append((page, body))
            self._errands.ask(lambda bodies=bodies: self._write(bodies))  # type: ignore[misc]

    # On the engine's thread.

    def _held(self, tokens: array[int], salt: str) -> tuple[list[int], int, int]:
        """Pages that know a text, held now, how many of its tokens they know, and how many of these are its source."""
        for source in self._sources(tokens):
            least = (1,) if source else ()
            match = self._pool.match(source_salt(salt, tokens[:source]), tokens, len(tokens), *least)
            pages, count = match.pages, len(match.pages) * self._pool.page_tokens
            if match.copied_page is not None:
                self._pool.hold(match.copied_page)
                pages, count = [*pages, match.copied_page], count + match.copied_tokens
            if count >= source:
                return pages, count, source
            self._pool.release(pages)
        return [], 0, 0

    def _sources(self, tokens: array[int]) -> Iterator[int]:
        """How long its source may be: where the decoder starts shows, but the token may occur in the text too."""
        if self._start_token < 0:
            yield 0
        else:
            yield from (place for place, token in enumerate(tokens) if place and token == self._start_token)
            yield len(tokens)

    def _allocated(self, tokens: int) -> list[int]:
        needed = -(-tokens // self._pool.page_tokens)
        if needed > self._pool.available:
            problem = f"the text takes {needed} pages of the cache, {self._pool.available} are free"
            raise CapacityError(problem, hint="try again when less is running, or raise --parallel")
        return [page for page in (self._pool.allocate() for _ in range(needed)) if page is not None]

    def _write(self, bodies: list[tuple[int, bytes]]) -> None:
        for page, body in bodies:
            self._pages.write(page, body)

    def _publish(self, tokens: array[int], salt: str, pages: list[int]) -> None:
        size, parent = self._pool.page_tokens, self._pool.root(salt)
        for place in range(len(pages)):
            part = tokens[place * size : (place + 1) * size]
            if len(part) == size:
                pages[place], parent = self._pool.publish(parent, part.tobytes(), pages[place])
            else:
                self._pool.publish_tail(parent, part.tobytes(), pages[place])

    def _bodies(self, pages: list[int]) -> Iterator[bytes]:
        for first in range(0, len(pages), _PAGES_AT_ONCE):
            group = pages[first : first + _PAGES_AT_ONCE]
            yield from self._errands.ask(lambda group=group: [*map(self._pages.read, group)])  # type: ignore[misc]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """A file that is read. Errors: UsageError when it cannot be."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        problem = f"{shown(path.name)} cannot be read: {error.strerror}"
        raise UsageError(problem, hint="give the name that it was saved under") from None


def _checksum(data: bytes, place: int = 0) -> bytes:
    return zlib.crc32(data, place).to_bytes(4, "little")


def _swapped(tokens: array[int]) -> array[int]:
    """Tokens in the order of bytes that files have, or back."""
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        tokens.byteswap()
    return tokens


def _little(tokens: array[int]) -> bytes:
    return _swapped(array("i", tokens)).tobytes()


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
