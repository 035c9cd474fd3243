"""Fetch a file in parallel stretches, and go on after any interruption where it stopped.

    <target>.incomplete           the bytes, each at its place
    <target>.incomplete.json      which of them are there, and of which version of the file

The file appears under its name only when all bytes are there and have the digest that was promised. Two processes that
want the same file share the work by a lock; where locks do not work, both write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pacos.errors import CapacityError, DownloadError, UsageError
from pacos.formats.atomic import sync_folder
from pacos.formats.wording import shown, sized
from pacos.hub.digests import hasher_for
from pacos.hub.entries import make_folder
from pacos.hub.fetching import Fetching, NoRanges, Version
from pacos.hub.ranges import Ranges
from pacos.hub.web import Web

_SAVE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_SPARE_BYTES = 64 << 20  # beside the file itself
_READ_BYTES = 1 << 20

Seen = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be fetched; an empty `digest` and `bytes` below 0 are not known before."""

    url: str
    digest: str = ""
    bytes: int = -1
    shown: str = ""


def download(web: Web, content: Content, target: Path, lock: Path, seen: Seen = lambda count: None) -> str:
    """Fetch a file to its place, unless it is there; returns its digest, a SHA-256 where none was known.

    `seen` hears how many bytes are there in all.
    Errors: DownloadError; `web.Refused`; CapacityError when the disk is full; UsageError for a place that cannot be
    written.
    """
    from filelock import FileLock

    make_folder(target.parent)
    make_folder(lock.parent)
    partial = target.with_name(f"{target.name}.incomplete")
    try:
        with _turn(FileLock(lock), partial, seen):
            if content.digest and target.is_file() and content.bytes in (-1, target.stat().st_size):
                seen(target.stat().st_size)
                return content.digest
            for attempt in range(2):
                digest = _attempt(web, content, partial, seen)
                if not content.digest or digest == content.digest:
                    _publish(partial, target)
                    return digest
                _forget(partial)
                if attempt == 0:
                    seen(0)
    except PermissionError as error:
        problem = f"{shown(error.filename or target)} cannot be written: {error.strerror}"
        raise UsageError(problem, hint="name another place with PACOS_HOME") from error
    problem = f"{content.shown}: what came twice has the digest {digest[:16]}..., promised is {content.digest[:16]}..."
    raise DownloadError(problem, hint="the file or the connection is damaged; try again later")


@contextmanager
def _turn(lock: object, partial: Path, seen: Seen) -> Iterator[None]:
    """Hold the lock; while another process has it, tell how far that one is."""
    from filelock import FileLock, Timeout

    assert isinstance(lock, FileLock)
    while True:
        try:
            lock.acquire(timeout=0.1)
            break
        except Timeout:
            seen(read_progress(partial)[1].bytes)
    try:
        yield
    finally:
        lock.release()


def _attempt(web: Web, content: Content, partial: Path, seen: Seen) -> str:
    """Have all bytes at their places; their digest. What is there stays, whatever interrupts."""
    known, there = read_progress(partial)
    version = Version(content.bytes, content.digest)
    if not content.digest or content.bytes < 0:
        version = replace(web.retrying(lambda: Fetching.look(web, content.url)), digest=content.digest)
    if known != version or version.bytes < 0:
        there = _left_by_others(partial, version) if known is None else Ranges()
    check_room(partial.parent, version.bytes - there.bytes, content.shown)
    try:
        return _fetched(web, content, partial, version, there, seen, whole=version.bytes < 0)
    except NoRanges:
        return _fetched(web, content, partial, version, Ranges(), seen, whole=True)


def _fetched(
    web: Web, content: Content, partial: Path, version: Version, there: Ranges, seen: Seen, *, whole: bool
) -> str:
    with _opened(partial) as fd:
        fetching = Fetching(web, content.url, version, there, partial, whole=whole)
        hasher = hasher_for(content.digest, max(0, version.bytes)) if content.digest else hashlib.sha256()
        hashed, saved = 0, time.monotonic()
        try:
            if version.bytes >= 0 and not whole:
                os.truncate(fd, version.bytes)
            fetching.start()
            while not fetching.ended:
                time.sleep(_POLL_SECONDS)
                hashed = 0 if whole else _hash_until(fd, hasher, hashed, fetching.prefix)
                seen(fetching.got_bytes)
                if time.monotonic() - saved >= _SAVE_SECONDS:
                    _save(partial, fd, version, fetching.copy())
                    saved = time.monotonic()
        except OSError as error:
            raise _full(error, content.shown, partial) from error
        finally:
            fetching.stop()
            with suppress(OSError):
                _save(partial, fd, version, fetching.copy())
        _raise(fetching, content, partial)
        _hash_until(fd, hasher, hashed, fetching.prefix)
        seen(fetching.got_bytes)
        os.fsync(fd)
    return hasher.hexdigest()


def _raise(fetching: Fetching, content: Content, partial: Path) -> None:
    error = fetching.error
    if isinstance(error, OSError):
        raise _full(error, content.shown, partial) from error
    if error is not None:
        raise error


def _full(error: OSError, name: str, partial: Path) -> Exception:
    import errno

    if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG):
        return error
    free = shutil.disk_usage(partial.parent).free
    hint = "free some space and pull again: it goes on where it stopped"
    return CapacityError(f"{name}: the disk is full: {sized(free)} free", hint=hint)


def _hash_until(fd: int, hasher: hashlib._Hash, done: int, until: int) -> int:
    while done < until:
        os.lseek(fd, done, os.SEEK_SET)
        piece = os.read(fd, min(_READ_BYTES, until - done))
        if not piece:
            break
        hasher.update(piece)
        done += len(piece)
    return done


@contextmanager
def _opened(partial: Path) -> Iterator[int]:
    """The partial file for reading and writing; never through a link that somebody put there."""
    if partial.is_symlink():
        partial.unlink()
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    fd = os.open(partial, flags, 0o666)  # the umask decides
    try:
        yield fd
    finally:
        os.close(fd)


def check_room(folder: Path, need: int, name: str) -> None:
    """Refuse what the disk has no room for. Errors: CapacityError."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if need > 0 and free < need + _SPARE_BYTES:
        problem = f"{name}: {sized(need)} are needed in {shown(folder)}, {sized(free)} are free"
        raise CapacityError(
            problem, hint="free some space (`pacos prune`, `pacos rm`), or set PACOS_HOME to another disk"
        )


def _side(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def read_progress(partial: Path) -> tuple[Version | None, Ranges]:
    """Which bytes of which version are there; (None, nothing) where nobody noted it."""
    try:
        data = json.loads(_side(partial).read_text(encoding="utf-8"))
        version = Version(int(data["bytes"]), str(data["digest"]), str(data["etag"]))
        there = Ranges([(max(0, int(begin)), int(end)) for begin, end in data["there"]])
        size = partial.stat().st_size
    except (OSError, ValueError, TypeError, KeyError):
        return None, Ranges()
    if any(end > size for _, end in there.stretches):
        return None, Ranges()
    return version, there


def _left_by_others(partial: Path, version: Version) -> Ranges:
    """Without a note, a file shorter than the whole is the beginning that another program left."""
    try:
        size = partial.lstat().st_size
    except OSError:
        return Ranges()
    return Ranges([(0, size)]) if version.digest and 0 < size < version.bytes else Ranges()


def _save(partial: Path, fd: int, version: Version, there: Ranges) -> None:
    """Note what is there, after it really is."""
    os.fsync(fd)
    data = {"bytes": version.bytes, "digest": version.digest, "etag": version.etag, "there": there.stretches}
    fresh = partial.with_name(f"{partial.name}.{os.getpid()}.json")
    fresh.write_text(json.dumps(data), encoding="utf-8")
    os.replace(fresh, _side(partial))


def _forget(partial: Path) -> None:
    _side(partial).unlink(missing_ok=True)
    partial.unlink(missing_ok=True)


def _publish(partial: Path, target: Path) -> None:
    try:
        os.replace(partial, target)
    except FileNotFoundError:
        if not target.is_file():  # else a process whose lock did not hold was faster, with the same bytes
            raise
    sync_folder(target.parent)
    _side(partial).unlink(missing_ok=True)
