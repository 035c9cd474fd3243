"""API keys: kept as hashes, compared in a time that tells nothing, from options and from a file that may change.

A line of the file is KEY, NAME:KEY, or [SCOPES] before either, such as `[infer] alice:KEY`; without them a key may do
all.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from pacos.errors import UsageError
from pacos.log import logger

FILE_BYTES_MAX = 1 << 20
SCOPES = ("infer", "manage")  # ask models; and change what the server holds: texts in slots, models
KEY_BYTES_MAX = 4096
_FAILURES_MAX = 20  # wrong keys from one address within _FAILURE_SECONDS, from then on refused unseen
_FAILURE_SECONDS = 60.0
_ADDRESSES_MAX = 10_000
_SCOPED = re.compile(r"\[([^\]]*)\]\s+(.+)")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a key, and what it may do."""

    name: str
    scopes: frozenset[str] = frozenset(SCOPES)


class Keys:
    """Who may ask. `needed` is whether there are keys at all."""

    def __init__(self, keys: tuple[str, ...] = (), file: str = "") -> None:
        self._given = {_digest(key): Holder(_name_of(key)) for key in keys if key}
        self._file = Path(file) if file else None
        self._state: tuple[int, int, int] | None = None
        self._looked = -1.0
        self._from_file: dict[bytes, Holder] = {}
        if self._file is not None:
            self._read(self._file)
        self.needed = bool(self._given) or self._file is not None

    def holder(self, key: str | None) -> Holder | None:
        """The key's holder, whose name is always the same for a key; None when it is none of ours.

        Every key is compared, so that the time does not tell which one fits, or how much of it.
        """
        self._refresh()
        digest = _digest(key or "")
        found: Holder | None = None
        for known, holder in (*self._given.items(), *self._from_file.items()):
            if hmac.compare_digest(known, digest):
                found = holder
        return found if key else None

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked < 1:
            return
        try:
            self._read(self._file)
        except UsageError as error:
            logger(__name__).error("%s; nobody whose key it held is let in", error)
            self._from_file, self._state = {}, None

    def _read(self, file: Path) -> None:
        self._looked = time.monotonic()
        try:
            found = file.stat()
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if state == self._state:
                return
            if found.st_size > FILE_BYTES_MAX:
                raise UsageError(f"--api-key-file {file} has {found.st_size} bytes", hint="give one key a line")
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"--api-key-file {file} cannot be read: {what}", hint="give one key a line") from error
        if os.name == "posix" and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger(__name__).warning("others on this machine may read %s; chmod 600 keeps the keys secret", file)
        lines = [line.strip() for line in text.splitlines()]
        self._from_file = dict(_named(line) for line in lines if line and not line.startswith("#"))
        if not self._from_file:
            logger(__name__).warning("%s holds no key: nobody is let in", file)
        self._state = state


def _named(line: str) -> tuple[bytes, Holder]:
    if len(line.encode()) > KEY_BYTES_MAX:
        raise UsageError(f"the API key file has a line of {len(line)} characters", hint="give one key a line")
    scopes = frozenset(SCOPES)
    if found := _SCOPED.fullmatch(line):
        scopes = frozenset(word.strip() for word in found[1].split(",") if word.strip())
        line = found[2]
        if unknown := scopes - set(SCOPES):
            problem = f"the API key file has the scope {min(unknown)[:40]!a}"
            raise UsageError(problem, hint=f"there are {', '.join(SCOPES)}")
    name, colon, key = line.partition(":")
    if colon and name and key:
        return _digest(key.strip()), Holder(name.strip(), scopes)
    return _digest(line), Holder(_name_of(line), scopes)


def _name_of(key: str) -> str:
    return f"key-{_digest(key).hex()[:8]}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class Failures:
    """Wrong keys by address, so that nobody can try many."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def too_many(self, address: str) -> bool:
        """Whether an address has sent so many wrong keys that another one is not looked at."""
        return self._recent(address, time.monotonic()) >= _FAILURES_MAX

    def note(self, address: str) -> None:
        """Count a wrong key."""
        now = time.monotonic()
        self._recent(address, now)
        if len(self._times) >= _ADDRESSES_MAX and address not in self._times:
            self._times.pop(next(iter(self._times)))
        self._times.setdefault(address, deque(maxlen=_FAILURES_MAX)).append(now)

    def _recent(self, address: str, now: float) -> int:
        times = self._times.get(address)
        while times and now - times[0] > _FAILURE_SECONDS:
            times.popleft()
        if times is not None and not times:
            del self._times[address]
        return len(times) if times else 0
