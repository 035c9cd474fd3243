"""Numpy behind one lazy name: importing this costs nothing, the first use imports numpy.

Running, chatting and serving never need numpy; the reference backend, quantizers and converters do.
"""

from __future__ import annotations

import importlib
from typing import Any

from pacos.errors import UsageError


class LazyModule:
    """Stand for a module and import it at the first attribute access."""

    def __init__(self, name: str, extra: str) -> None:
        self._name = name
        self._extra = extra
        self._module: Any = None

    def __getattr__(self, attribute: str) -> Any:
        if self._module is None:
            try:
                self._module = importlib.import_module(self._name)
            except ImportError as error:
                raise UsageError(
                    f"this needs {self._name}, which is not installed", hint=f"pip install 'pacos[{self._extra}]'"
                ) from error
        return getattr(self._module, attribute)


np: Any = LazyModule("numpy", "numpy")
