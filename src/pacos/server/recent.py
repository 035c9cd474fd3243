"""What a server did in the last minutes: one row of numbers a second, and how long first tokens took.

Units: rates per second of wall time; `cores` is processor time per second; memory in bytes.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from pacos.server.residency import Residency, Resident

KEPT_SECONDS = 300
COLUMNS = (
    *("time", "generated", "prompt", "running", "waiting", "pages_held", "pages_cached", "pages"),
    *("requests", "cores", "memory_bytes", "first_token_seconds"),
)
_MEASURED = 10_000  # of first tokens and of means between tokens, whatever their age
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Measured:
    """Durations with the time when each was seen; only the latest are kept."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=_MEASURED)

    def add(self, seconds: float) -> None:
        """Note one."""
        self._seen.append((time.monotonic(), seconds))

    def since(self, began: float) -> list[float]:
        """Those seen since a moment, in order of size."""
        return sorted(seconds for seen, seconds in self._seen if seen >= began)


def percentiles(values: Sequence[float]) -> dict[str, float | int]:
    """How many there are, and below what half, nine tenths and 99 of 100 lie; `values` are in order of size."""
    found: dict[str, float | int] = {"count": len(values)}
    for part in (50, 90, 99) if values else ():
        found[f"p{part}"] = round(values[min(len(values) - 1, part * len(values) // 100)], 6)
    return found


class Recent:
    """The rows of the last KEPT_SECONDS; on the event loop alone."""

    def __init__(self) -> None:
        self.first_token = Measured()
        self.between_tokens = Measured()
        self.rows: deque[tuple[float, ...]] = deque(maxlen=KEPT_SECONDS)
        self._counted: WeakKeyDictionary[Resident, tuple[int, int]] = WeakKeyDictionary()
        self._began = time.monotonic()
        self._before = (self._began, time.process_time())

    @property
    def uptime_seconds(self) -> float:
        """How long the server has been there."""
        return time.monotonic() - self._began

    def sample(self, residency: Residency, requests: int) -> None:
        """Add a row: what the engines did since the one before, and what they hold now."""
        now, busy = time.monotonic(), time.process_time()
        passed = max(1e-3, now - self._before[0])
        cores = (busy - self._before[1]) / passed
        generated = computed = running = waiting = held = cached = pages = 0
        for resident in list(residency.open.values()):
            seen = resident.llm.engine.statistics()
            made, through = self._counted.get(resident, (0, 0))
            generated += seen.tokens_generated - made
            computed += seen.tokens_computed - through
            self._counted[resident] = (seen.tokens_generated, seen.tokens_computed)
            running += seen.running
            waiting += seen.waiting
            held += seen.pages_held
            cached += seen.pages_cached
            pages += seen.pages
        first = self.first_token.since(self._before[0])
        row = (
            *(round(time.time(), 3), round(generated / passed, 2), round(max(0, computed - generated) / passed, 2)),
            *(running, waiting, held, cached, pages, requests, round(cores, 3), resident_bytes()),
            first[len(first) // 2] if first else -1.0,
        )
        self.rows.append(row)
        self._before = (now, busy)

    def columns(self, since: float) -> dict[str, list[Any]]:
        """The rows after a moment of the epoch, by column; where nothing was measured there is None."""
        rows = [row for row in self.rows if row[0] > since]
        found: dict[str, list[Any]] = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
        found["first_token_seconds"] = [None if one < 0 else round(one, 6) for one in found["first_token_seconds"]]
        return found


def resident_bytes() -> int:
    """Memory that this process takes now, files that it has mapped included; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def machine_bytes() -> tuple[int, int]:
    """The machine's memory, and how much of it may still be used; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    except (OSError, ValueError):
        return 0, 0
    return found.get("MemTotal", 0), found.get("MemAvailable", 0)
