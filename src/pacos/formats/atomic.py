"""Write a file so that it appears whole or not at all, whatever interrupts."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pacos.errors import CapacityError, UsageError
from pacos.formats.wording import shown, sized

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], expected_bytes: int = 0, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write into; at the end it takes the place of `path`, after any error nothing is left of it.

    It is written beside its final place (a link is followed), flushed to the disk, then renamed. What a process that
    is no more left of the same file is removed. Without `replace`, a file that is there at the end stays.
    Errors: CapacityError when the disk is, or would become, full; UsageError when the place cannot be written.
    """
    target = Path(os.path.realpath(path))
    name = shown(path)
    _check_place(target, name, expected_bytes)
    _remove_stale(target)
    temporary = target.with_name(f"{_part_start(target)}{os.getpid()}.{secrets.token_hex(6)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(temporary, flags, 0o666)  # the umask decides
    except OSError as error:
        if error.errno in _FULL:
            raise _full(name, target, expected_bytes) from None
        raise UsageError(f"{name}: cannot be written: {error.strerror}", hint="choose another place") from None
    try:
        with open(fd, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            os.replace(temporary, target)
        else:
            _rename_if_absent(temporary, target, name)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _full(name, target, expected_bytes) from None
        raise
    sync_folder(target.parent)


def _part_start(target: Path) -> str:
    """How the names of a file's parts begin; the process that writes follows."""
    return f".{target.name[:40]}."  # short, as the name must stay one in any encoding


def _remove_stale(target: Path) -> None:
    """Remove parts that a process which is no more has left."""
    start = _part_start(target)
    with contextlib.suppress(OSError):
        for entry in os.scandir(target.parent):
            owner = re.fullmatch(re.escape(start) + r"([0-9]{1,10})\.[0-9a-f]{12}\.part", entry.name)
            if owner is not None and not _is_alive(int(owner[1])):
                with contextlib.suppress(OSError):  # Windows keeps what is open
                    os.unlink(entry.path)


def _is_alive(process: int) -> bool:
    """Whether the process runs; Windows is asked by removing what it holds open."""
    if os.name != "posix":
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _rename_if_absent(temporary: Path, target: Path, name: str) -> None:
    """Rename unless something is there. Errors: UsageError when there is."""
    try:
        if os.name == "posix":
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                if target.exists():
                    raise FileExistsError from None
                os.replace(temporary, target)
            else:
                os.unlink(temporary)
        else:
            os.rename(temporary, target)  # replaces nothing there
    except FileExistsError:
        raise UsageError(f"{name} exists: it was made meanwhile", hint="give another name, or --force") from None


def _check_place(target: Path, name: str, expected_bytes: int) -> None:
    """Refuse early what could only fail late."""
    try:
        kind = os.stat(target).st_mode
    except (OSError, ValueError):
        kind = stat.S_IFREG
    if not stat.S_ISREG(kind):
        raise UsageError(f"{name}: is there, and is no regular file", hint="choose another name")
    try:
        free = shutil.disk_usage(target.parent).free
    except (OSError, ValueError):
        raise UsageError(f"{name}: the folder {shown(target.parent)} does not exist", hint="make it first") from None
    if free < expected_bytes:
        raise _full(name, target, expected_bytes)


def _full(name: str, target: Path, expected_bytes: int) -> CapacityError:
    """The error for a disk without room."""
    free = shutil.disk_usage(target.parent).free
    needed = f"{sized(expected_bytes)} needed, " if expected_bytes else ""
    problem = f"{name}: the disk is full: {needed}{sized(free)} free"
    return CapacityError(problem, hint="free some space, or choose another disk")


def sync_folder(folder: Path) -> None:
    """Make the new name durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
