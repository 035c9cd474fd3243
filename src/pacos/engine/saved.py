"""Computed texts in files: saved from the pages of the cache, and given back to it, here or in another process.

A file is bound to the model and to the salt under which the text was computed; its pages besides to their format and to
how they hold keys and values. It appears whole or not at all. Each page has a checksum, which goes on from that of the
file's start; what was read becomes known only when all of it is right.
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
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pacos.backends import Pages
from pacos.engine.errands import Errands
from pacos.engine.identity import Identity
from pacos.engine.page_file import CHECKSUM_BYTES, PAGE_FORMAT, PageReader, checksum, first_failing
from pacos.engine.pages import PagePool
from pacos.engine.sequence import source_salt
from pacos.errors import CapacityError, FormatError, PacosError, UsageError
from pacos.formats.atomic import atomic_file
from pacos.formats.wording import shown

_MAGIC = b"PACOSTX3"
_OLDER = (b"PACOSTX1", b"PACOSTX2")
_HEAD_MAX = 4096
_WORDS_MAX = 200
_TOKENS_MAX = 1 << 24  # more than any context; a file of holes may be as long as its head says
_PAGES_AT_ONCE = 8  # copied between two steps
_TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class SavedText:
    """What was saved or restored: the tokens, how many of them are computed, and the bytes of the file."""

    tokens: array[int]
    computed: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Start:
    """What a file begins with; `misfit` says why its pages cannot be used here, or "". `size` and `sum` are its own."""

    tokens: array[int]
    computed: int
    source: int
    misfit: str
    size: int
    sum: bytes


class SavedTexts:
    """Saves and restores texts of one engine; from any thread but the engine's.

    `identity` says what the content of a page depends on beside the tokens; None: nothing can be saved. `salted` adds
    what adapters do to a salt. A decoder goes from its `start_token` on, when an encoder reads; else that is -1.
    """

    def __init__(
        self,
        pool: PagePool,
        pages: Pages,
        errands: Errands,
        identity: Callable[[], Identity] | None,
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
            size = len(start) + CHECKSUM_BYTES + len(pages) * (self._pages.page_bytes + CHECKSUM_BYTES)
            begun = checksum([start])
            with atomic_file(path, size) as stream:
                if os.name == "posix":
                    os.fchmod(stream.fileno(), 0o600)  # it tells what was said
                stream.write(start + begun)
                for place, body in enumerate(self._bodies(pages)):
                    stream.write(body)
                    stream.write(checksum([body], _seed(begun, place)))
            return SavedText(tokens[:], count, size)
        finally:
            with contextlib.suppress(PacosError):
                self._errands.ask(lambda: self._pool.release(pages))

    def restore(self, path: Path, salt: str) -> SavedText:
        """Give the cache a text back; prompts that begin with it find it.

        Errors: UsageError for no such file; FormatError for one that is damaged, of another model or salt, or whose
        pages cannot be used here; CapacityError when the cache has no room now.
        """
        salt = self._salted(salt)
        with _reading(path) as stream:
            start = self._read_start(stream, path, salt)
            if start.misfit:
                raise FormatError(start.misfit, hint="compute the text anew and save it")
            pages = self._errands.ask(lambda: self._allocated(start.computed)) if start.computed else []
            try:
                self._fill(stream, start, pages, path)
                if pages:
                    root = source_salt(salt, start.tokens[: start.source])
                    self._errands.ask(lambda: self._publish(start.tokens[: start.computed], root, pages))
            finally:
                with contextlib.suppress(PacosError):
                    self._errands.ask(lambda: self._pool.release(pages))
            return SavedText(start.tokens, start.computed, os.fstat(stream.fileno()).st_size)

    def tokens(self, path: Path, salt: str) -> array[int]:
        """The tokens of a file, whatever its pages are like. Errors: as `restore`, but none for pages."""
        with _reading(path) as stream:
            return self._read_start(stream, path, self._salted(salt)).tokens

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
        identity = self._identity()
        return {
            "format": PAGE_FORMAT,
            "pages": identity.pages,
            "page_bytes": self._pages.page_bytes,
            "page_tokens": self._pool.page_tokens,
            "model": identity.model,
            "salt": hashlib.sha256(salt.encode("utf-8", "surrogatepass")).hexdigest(),
        }

    def _read_start(self, stream: BinaryIO, path: Path, salt: str) -> _Start:
        """What a file of this model and salt begins with. Errors: FormatError."""
        name, size = shown(path.name), os.fstat(stream.fileno()).st_size
        start = stream.read(len(_MAGIC) + 4)
        length = int.from_bytes(start[len(_MAGIC) :], "little")
        if start[: len(_MAGIC)] in _OLDER:
            problem = f"{name} was saved by an older Pacos, in a form that is no longer read"
            raise FormatError(problem, hint="compute the text anew and save it")
        if start[: len(_MAGIC)] != _MAGIC or not 0 < length <= _HEAD_MAX:
            raise FormatError(f"{name} is no saved text", hint="give the name of a saved one")
        start += stream.read(length)
        found = _object(start[len(_MAGIC) + 4 :])
        numbers = [found.get(key) for key in ("tokens", "computed", "page_tokens", "page_bytes")]
        numbers.append(found.get("source", 0))
        count, computed, page_tokens, page_bytes, source = (one if type(one) is int else -1 for one in numbers)
        good = 0 <= source <= computed <= count <= _TOKENS_MAX and count > 0 and page_tokens > 0 and page_bytes > 0
        needed = len(start) + count * _TOKEN_BYTES + CHECKSUM_BYTES
        all_pages = -(-computed // page_tokens) * (page_bytes + CHECKSUM_BYTES) if good else 0
        if not good or size != needed + all_pages:
            raise FormatError(f"{name} is damaged: it has {size} bytes", hint="save the text anew")
        start += stream.read(count * _TOKEN_BYTES)
        begun = stream.read(CHECKSUM_BYTES)
        if begun != checksum([start]):
            raise FormatError(f"{name} is damaged: its head does not fit its checksum", hint="save the text anew")
        misfit = _misfit(found, self._head(salt, tokens_alone=not computed), name)
        tokens = array("i")
        tokens.frombytes(start[-count * _TOKEN_BYTES :])
        return _Start(_swapped(tokens), computed, source, misfit if computed else "", needed, begun)

    def _fill(self, stream: BinaryIO, start: _Start, pages: list[int], path: Path) -> None:
        reader, page_bytes = PageReader(stream), self._pages.page_bytes

        def filled(place: int) -> bool:
            seed, offset = _seed(start.sum, place), start.size + place * (page_bytes + CHECKSUM_BYTES)
            found = memoryview(bytearray(CHECKSUM_BYTES))

            def read(parts: list[memoryview]) -> bool:
                return reader.read([*parts, found], offset) and checksum(parts, seed) == found

            return self._pages.fill(pages[place], read)

        damaged = first_failing(filled, len(pages))
        if damaged < len(pages):
            problem = f"{shown(path.name)} is damaged: page {damaged} does not fit its checksum"
            raise FormatError(problem, hint="save the text anew")

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
        with path.open("rb", buffering=0) as stream:
            yield stream
    except OSError as error:
        problem = f"{shown(path.name)} cannot be read: {error.strerror}"
        raise UsageError(problem, hint="give the name that it was saved under") from None


def _misfit(found: dict[str, Any], needed: dict[str, Any], name: str) -> str:
    """Why the pages of a file with that head cannot be used; "" when they can. Errors: FormatError when nothing can."""
    hint = "compute the text anew and save it"
    if found.get("salt") != needed["salt"]:
        raise FormatError(f"{name} is a text of another API key or salt", hint=hint)
    if found.get("model") != needed["model"]:
        problem = f"{name} is a text of another model, or of one opened with other adapters or --rope options"
        raise FormatError(problem, hint=hint)
    if found.get("format") != needed["format"]:
        return f"{name} has pages of format {shown(found.get('format'))}, this Pacos reads {needed['format']}"
    if found.get("pages") != needed["pages"]:
        return f"{name} has pages of {shown(found.get('pages'), _WORDS_MAX)}; here they are of {needed['pages']}"
    return ""


def _seed(begun: bytes, place: int) -> bytes:
    """What the checksum of a page goes on from: pages of other texts, or in another order, do not fit."""
    return checksum([begun, place.to_bytes(8, "little")])


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
