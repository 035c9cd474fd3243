"""Load the native library once and give typed access to its C functions.

`pacos.h` beside this file is the whole surface. Every part that needs a native function asks for it
by name with `function(...)`; nothing else in the package touches ctypes' loader.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pacos.errors import NativeError

ABI_VERSION = 1240262543  # as in pacos.h
_FILE_NAMES = {"win32": "pacos.dll", "darwin": "libpacos.dylib"}


def library_path() -> Path:
    """Path of the native library inside the installed package."""
    return Path(__file__).with_name(_FILE_NAMES.get(sys.platform, "libpacos.so"))


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded native library.

    Errors: NativeError when the file is missing, cannot be loaded, or has another ABI version.
    """
    path = Path(os.environ.get("PACOS_NATIVE_LIBRARY") or library_path())
    rebuild = "reinstall pacos, or run `make build` in a source checkout"
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"cannot load the native library {path}: {error}", hint=rebuild) from error
    found = loaded.pacos_abi_version()
    if found != ABI_VERSION:
        raise NativeError(f"{path} has ABI version {found}, this package needs {ABI_VERSION}", hint=rebuild)
    return loaded


def function(name: str, result: Any, arguments: Sequence[Any]) -> Callable[..., Any]:
    """The C function `name`, typed; calls release the GIL.

    Errors: NativeError when the library lacks it.
    """
    try:
        found = getattr(library(), name)
    except AttributeError as error:
        raise NativeError(f"the native library has no function {name}", hint="rebuild it with `make build`") from error
    found.restype = result
    found.argtypes = list(arguments)
    return found  # type: ignore[no-any-return]


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory for the next allocation, where the system knows how, and give it back at the end.

    Arrays of some megabytes that come and go cost page faults otherwise, as much time as what is computed with them.
    """
    keep = function("pacos_keep_freed_memory", ctypes.c_int32, [ctypes.c_int32])
    keep(1)
    try:
        yield
    finally:
        keep(0)


class _BufferView(ctypes.Structure):
    """Python's `Py_buffer` (part of the stable ABI since 3.11)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def address_of(buffer: Any) -> int:
    """Address of a contiguous buffer's first byte, also of read-only memory, which ctypes itself refuses to point at.

    It is valid as long as the buffer lives and is not closed. Errors: TypeError or BufferError for anything else.
    """
    view = _BufferView()
    # PyBUF_SIMPLE (0): contiguous bytes
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), ctypes.c_int(0))
    address = view.buf or 0
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
    return int(address)
