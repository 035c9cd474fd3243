"""Give numpy under a name that imports it only when an attribute is first used.

The way of `run`, `chat` and `serve` never touches an array body, so it never pays for numpy's import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.errors import UsageError

__all__ = ["need_numpy", "np"]

if TYPE_CHECKING:
    import numpy as np
else:

    class _LazyNumpy:
        """Stand for the numpy module; keep each attribute after its first use."""

        def __getattr__(self, name: str) -> Any:
            import numpy

            value = getattr(numpy, name)
            setattr(self, name, value)
            return value

    np = _LazyNumpy()


def need_numpy(what: str) -> None:
    """Say early that `what` needs numpy. Errors: UsageError when it is not installed."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise UsageError(f"{what} needs numpy", hint="pip install 'pacos[numpy]'") from None
