"""Messages about the program's own work: to stderr, never to stdout, quiet unless asked.

Parts write `logger(__name__).info(...)`. A program that embeds Pacos configures the standard logger "pacos" as it
likes; the command line calls `warnings_to`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

_write_warning: Callable[[str], object] | None = None


def logger(name: str) -> logging.Logger:
    """The standard logger of that name; the logging module is imported only now."""
    import logging

    if _write_warning is not None:
        _install(_write_warning)
    return logging.getLogger(name)


def warnings_to(write: Callable[[str], object] | None) -> None:
    """Give the text of every warning and error to `write`; None stops that. Costs nothing until there is one."""
    global _write_warning
    _write_warning = write


def _install(write: Callable[[str], object]) -> None:
    import logging

    class Written(logging.Handler):
        """Hands messages on, without their tracebacks."""

        def emit(self, record: logging.LogRecord) -> None:
            write(record.getMessage())

    ours = logging.getLogger("pacos")
    ours.handlers = [Written(logging.WARNING)]
    ours.propagate = False
