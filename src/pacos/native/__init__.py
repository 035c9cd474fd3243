"""Load the native library once and give typed access to its C functions.

`pacos.h` beside this file is the whole surface. Every part that needs a native function asks for it
by name with `function(...)`; nothing else in the package touches ctypes' loader.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pacos.errors import NativeError

ABI_VERSION = 1
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
