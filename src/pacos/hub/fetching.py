"""The threads of one download: each fetches stretches of the file and writes them to their places."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from pacos.errors import DownloadError, PacosError
from pacos.hub.endpoints import origin
from pacos.hub.ranges import Ranges
from pacos.hub.web import ATTEMPTS, Again, Refused, Web, given_up, where

SEGMENT_BYTES = 16 << 20
_THREADS = 6
_GONE = {401, 403, 404, 410}  # what an address that was lent for a time answers when the time is over
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Version:
    """Which file it is: its size (below 0: unknown), its digest or "", and the mark that the machine gives it."""

    bytes: int
    digest: str = ""
    etag: str = ""


class Fetching:
    """One download that runs; `error` says how it ended when not well.

    `there` are the bytes that the file at `path` has already. `whole` is for machines that know no stretches.
    """

    def __init__(self, web: Web, url: str, version: Version, there: Ranges, path: Path, *, whole: bool) -> None:
        self.error: BaseException | None = None
        self._web = web
        self._url = url
        self._direct = ""  # where the last redirect led
        self._size = version.bytes
        self._etag = version.etag
        self._path = path
        self._there = there
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._whole = whole
        self._open = [] if self._whole else list(there.missing(version.bytes, SEGMENT_BYTES))[::-1]
        self._threads: list[threading.Thread] = []

    @staticmethod
    def look(web: Web, url: str) -> Version:
        """What a machine says of a file before it is fetched; below 0 bytes where it sends only whole files."""
        try:
            with web.get(url, {"Range": "bytes=0-0"}) as response:
                etag = response.headers.get("etag") or response.headers.get("last-modified") or ""
                found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
                if response.status_code == 206 and found is not None and found[3] != "*":
                    return Version(int(found[3]), etag=etag)
                return Version(-1, etag=etag)
        except Refused as error:
            if error.status == 416:  # an empty file has no first byte
                return Version(0)
            raise

    @property
    def prefix(self) -> int:
        """Bytes from the beginning without a gap."""
        with self._lock:
            return self._there.prefix

    @property
    def got_bytes(self) -> int:
        """Bytes that are there."""
        with self._lock:
            return self._there.bytes

    def copy(self) -> Ranges:
        """Which bytes are there now."""
        with self._lock:
            return Ranges(self._there.stretches)

    @property
    def ended(self) -> bool:
        """Whether no thread runs any more."""
        return not any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin."""
        count = 1 if self._whole else min(_THREADS, len(self._open))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End soon; what a thread still waits for ends with the connection."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(0.3)

    def _work(self) -> None:
        try:
            with self._path.open("r+b", buffering=0) as file:
                if self._whole:
                    self._stream_whole(file)
                while not self._stopped.is_set() and (stretch := self._next()) is not None:
                    self._fill(file, *stretch)
        except BaseException as error:  # noqa: BLE001 - raised where the download was begun
            with self._lock:
                self.error = self.error or error
            self._stopped.set()

    def _next(self) -> tuple[int, int] | None:
        with self._lock:
            return self._open.pop() if self._open else None

    def _fill(self, file: RawIOBase, begin: int, end: int) -> None:
        """Fetch one stretch, whatever it takes."""
        failures = 0
        while begin < end and not self._stopped.is_set():
            before = begin
            try:
                begin = self._fetch(file, self._direct or self._url, begin, end)
                if begin > before or self._stopped.is_set():
                    continue
                failure = Again(f"{where(self._url)} sends nothing")
            except Again as error:
                failure = error
            except Refused as error:  # an address that was lent is lent anew; the first one means it
                if origin(error.url) == origin(self._url) or error.status not in _GONE:
                    raise
                failure = Again(str(error))
            self._direct = ""
            begin = max(before, self._reached(before, end))
            failures = 0 if begin > before else failures + 1
            if failures == ATTEMPTS:
                raise given_up(failure) from failure
            self._web.pause(failures, failure)

    def _reached(self, begin: int, end: int) -> int:
        with self._lock:
            return next((min(e, end) for b, e in self._there.stretches if b <= begin <= e), begin)

    def _fetch(self, file: RawIOBase, url: str, begin: int, end: int) -> int:
        """Fetch from one place on; how far it came."""
        with self._web.get(url, {"Range": f"bytes={begin}-{end - 1}"}) as response:
            if response.status_code != 206:
                raise NoRanges(f"{where(str(response.url))} sends only whole files")
            found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            sizes = ("*", str(self._size))
            if found is None or int(found[1]) != begin or int(found[2]) >= end or found[3] not in sizes:
                told = response.headers.get("content-range", "nothing")
                wanted = f"bytes {begin}-{end - 1} of {self._size}"
                problem = f"{where(str(response.url))} sends {told[:60]!a}, asked was for {wanted}"
                raise DownloadError(problem, hint="the file may have changed; pull again")
            etag = response.headers.get("etag", "")
            if self._etag and etag and etag != self._etag:
                raise DownloadError(f"{where(str(response.url))} has changed meanwhile", hint="pull again")
            self._direct = str(response.url)
            for piece in response.iter_raw():
                if self._stopped.is_set():
                    break
                begin = self._write(file, piece[: end - begin], begin)
        return begin

    def _write(self, file: RawIOBase, piece: bytes, begin: int) -> int:
        view = memoryview(piece)
        while view:
            file.seek(begin)
            count = file.write(view) or 0
            with self._lock:
                self._there.add(begin, begin + count)
            begin += count
            view = view[count:]
        return begin

    def _stream_whole(self, file: RawIOBase) -> None:
        """Fetch the file from the beginning, at each attempt anew: the machine knows no stretches."""
        for attempt in range(ATTEMPTS):
            try:
                with self._lock:
                    self._there.stretches = []
                file.truncate(0)
                with self._web.get(self._url) as response:
                    told = response.headers.get("content-length", "")
                    begin = 0
                    for piece in response.iter_raw():
                        if self._stopped.is_set():
                            return
                        begin = self._write(file, piece, begin)
                        if 0 <= self._size < begin:
                            raise DownloadError(f"{where(self._url)} sends more than {self._size} bytes")
                    if told.isdecimal() and int(told) != begin:
                        raise Again(f"{where(self._url)} ended after {begin} of {told} bytes")
                    return
            except Again as error:
                if attempt + 1 == ATTEMPTS:
                    raise given_up(error) from error
                self._web.pause(attempt, error)


class NoRanges(PacosError):
    """The machine sends the whole file where a stretch was asked for."""
