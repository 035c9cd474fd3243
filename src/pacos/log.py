"""Messages about the program's own work: to stderr, never to stdout, quiet unless asked.

Parts write `logger(__name__).info(...)`. A program that embeds Pacos configures the standard logger "pacos" as it
likes; the command line calls `to_stderr`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

LEVELS = ("error", "warning", "info", "debug")


def logger(name: str) -> logging.Logger:
    """The standard logger of that name; the logging module is imported only now."""
    import logging

    return logging.getLogger(name)


def to_stderr(level: str = "warning") -> None:
    """Show messages of this level and above on stderr, one line each.

    Errors: ValueError for a level that is not in LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is unknown: use one of {', '.join(LEVELS)}")
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    ours = logging.getLogger("pacos")
    ours.handlers = [handler]
    ours.propagate = False
    ours.setLevel(level.upper())
