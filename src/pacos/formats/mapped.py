"""Files mapped into memory read-only, and the archive that hands out their tensors."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pacos.errors import CapacityError, FormatError, ModelNotFound, UsageError
from pacos.formats.wording import shown, sized
from pacos.native import address_of, function
from pacos.types import TensorEntry

MADE_IN_MEMORY = -1  # `part` of tensors that lie in no file as they are used
_PATH_CHARACTERS = 1000
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
_NOT_MAPPABLE = {errno.ENODEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class MappedFile:
    """A regular file, mapped read-only.

    When it becomes shorter or its disk fails while it is open, the process ends with one line and exit code 3.
    Errors: ModelNotFound when nothing is at the path; FormatError when it is no readable regular file or is empty;
    CapacityError when the address space or memory is used up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = shown(path, _PATH_CHARACTERS)
        fd = _open_regular(path, self.shown)
        try:
            self.size = os.fstat(fd).st_size
            if self.size == 0:
                raise FormatError(f"{self.shown}: the file is empty", hint="download it again")
            self.buffer: mmap.mmap | bytes = _map(fd, self.size, self.shown)
        finally:
            os.close(fd)
        self.view = memoryview(self.buffer)
        self.address = address_of(self.buffer)
        self._watched = None if isinstance(self.buffer, bytes) else self._watch()

    def _watch(self) -> int | None:
        line = f"pacos: {self.shown}: the file became shorter, or its disk failed, while in use (download it again)\n"
        watch = function("pacos_watch", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p])
        entry: int | None = watch(self.address, self.size, line.encode(errors="backslashreplace"))
        return entry

    def close(self) -> None:
        """Unmap the file now, or when the last view of it goes."""
        function("pacos_unwatch", None, [ctypes.c_void_p])(self._watched)
        self._watched = None
        self.view.release()
        if not isinstance(self.buffer, bytes):
            with contextlib.suppress(BufferError):  # somebody still holds a view; the mapping ends with it
                self.buffer.close()
        self.buffer = b""
        self.address = 0


def _open_regular(path: Path, name: str) -> int:
    """A descriptor of the regular file; opening never waits, as it would on a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind):
            fd = os.open(path, flags)
            kind = os.fstat(fd).st_mode
            if stat.S_ISREG(kind):
                return fd
            os.close(fd)
    except ValueError:  # a NUL in the path
        raise ModelNotFound(f"{name}: no path can hold a NUL character") from None
    except OSError as error:
        raise _open_error(path, name, error) from None
    what = next((word for test, word in _KINDS if test(kind)), "no file")
    raise FormatError(f"{name}: not a regular file, but {what}", hint="give the path of a model file")


def _open_error(path: Path, name: str, error: OSError) -> FormatError | ModelNotFound | CapacityError:
    """The error to raise for what the system said on opening."""
    reason = error.strerror or str(error)
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return CapacityError(f"{name}: cannot be opened: {reason}", hint="close some files or models")
    if error.errno in _NOT_THERE:
        if os.path.islink(path):
            return ModelNotFound(f"{name}: a link that leads nowhere: {reason}", hint="download the model again")
        return ModelNotFound(f"{name}: {reason}", hint="check the path")
    return FormatError(f"{name}: cannot be read: {reason}", hint="check the file's permissions and the disk")


def _map(fd: int, size: int, name: str) -> mmap.mmap | bytes:
    """The file's bytes: mapped, or read where the file system cannot map."""
    try:
        return mmap.mmap(fd, size, access=mmap.ACCESS_READ)
    except ValueError:
        raise FormatError(f"{name}: the file became shorter meanwhile", hint="is a download running?") from None
    except OverflowError:
        raise CapacityError(f"{name}: {sized(size)} do not fit the address space") from None
    except OSError as error:
        if error.errno not in _NOT_MAPPABLE:
            hint = "free some memory, or raise the limit on address space"
            raise CapacityError(f"{name}: cannot map {sized(size)}: {error.strerror}", hint=hint) from None
    return _read(fd, size, name)


def _read(fd: int, size: int, name: str) -> bytes:
    """The whole file, read; short reads are continued."""
    try:
        content = bytearray(size)
        done = 0
        while done < size:
            piece = os.pread(fd, min(size - done, 1 << 24), done) if hasattr(os, "pread") else os.read(fd, size - done)
            if not piece:
                raise FormatError(f"{name}: the file became shorter meanwhile", hint="is a download running?")
            content[done : done + len(piece)] = piece
            done += len(piece)
    except MemoryError:
        raise CapacityError(f"{name}: {sized(size)} do not fit the memory, and the file cannot be mapped") from None
    except OSError as error:
        raise FormatError(f"{name}: reading stopped: {error.strerror}", hint="check the disk") from None
    return bytes(content)


class MappedArchive:
    """A model whose tensors lie in memory-mapped files; see `pacos.types.Archive`.

    `parts` are the files' paths, `warnings` sentences about what is odd but usable. Views from `data` stay usable
    after `close`, addresses do not. `makers` make tensors that the files hold otherwise: in memory, at first use.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[MappedFile],
        metadata: Mapping[str, Any],
        tensors: Mapping[str, TensorEntry],
        warnings: Sequence[str] = (),
        makers: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.path = path
        self.parts = tuple(file.path for file in files)
        self.metadata = metadata
        self.tensors = tensors
        self.warnings = list(warnings)
        self._files = tuple(files)
        self._makers = makers or {}
        self._made: dict[str, memoryview] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.nbytes for entry in self.tensors.values())

    def data(self, name: str) -> memoryview:
        """Raw bytes of a tensor, read-only, without a copy.

        Errors: FormatError when the model has no such tensor.
        """
        entry = self._entry(name)
        if name in self._makers:
            if name not in self._made:
                self._made[name] = memoryview(self._makers[name]()).cast("B").toreadonly()
            return self._made[name]
        return self._files[entry.part].view[entry.offset : entry.offset + entry.nbytes]

    def address(self, name: str) -> int:
        """Address of a tensor's first byte, valid until close(); aligned no better than the file is.

        Errors: FormatError when the model has no such tensor.
        """
        entry = self._entry(name)
        return address_of(self.data(name)) if name in self._makers else self._files[entry.part].address + entry.offset

    def close(self) -> None:
        """Release the files; addresses given before are dead. Metadata stays readable."""
        files, self._files = self._files, ()
        self._made.clear()
        for file in files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _entry(self, name: str) -> TensorEntry:
        if not self._files:
            raise UsageError(f"{shown(self.path)}: the model is closed")
        entry = self.tensors.get(name)
        if entry is None:
            raise FormatError(
                f"{shown(self.path)}: there is no tensor {shown(name)}", hint="is it another model's file?"
            )
        return entry
