"""A server in the background: who it is, whether it lives, and how it is told to stop.

The server holds a lock as long as it lives, so a crash or a restart of the machine leaves no doubt. Its process is
signalled only while the lock is held and the process began when the file says: a number that another process got
later is never taken for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pacos.errors import PacosError, UsageError
from pacos.settings.places import state_folder

_PID_NAME, _LOCK_NAME, _LOG_NAME = "server.json", "server.lock", "server.log"
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0  # longer than anybody looks
_LOG_BYTES_KEPT = 10 << 20  # a longer log is put aside when the next server starts


@dataclass(frozen=True, slots=True)
class Running:
    """A server in the background: its process, when that began, and its address."""

    pid: int
    began: str
    url: str


def log_path() -> Path:
    """The log of the server in the background."""
    return state_folder() / _LOG_NAME


@contextmanager
def held(url: str) -> Iterator[None]:
    """Be the server in the background until the block ends. Errors: UsageError when there is one."""
    with _lock() as got:
        if not got:
            raise UsageError("a server is running in the background", hint="`pacos serve stop` ends it")
        file = state_folder() / _PID_NAME
        state = Running(os.getpid(), process_began(os.getpid()) or "", url)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(state)), encoding="utf-8")
        fresh.replace(file)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def running() -> Running | None:
    """The server in the background; None when there is none, whatever the files say."""
    try:
        data = json.loads((state_folder() / _PID_NAME).read_text(encoding="utf-8"))
        found = Running(int(data["pid"]), str(data["began"]), str(data["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _is_held() and process_began(found.pid) == found.began else None


def start(arguments: Sequence[str], wait_seconds: float) -> Running:
    """Start `pacos serve` with these arguments in the background and wait until it listens.

    Errors: UsageError when one is running; PacosError with the end of its log when it did not start.
    """
    if (found := running()) is not None:
        raise UsageError(f"a server is running at {found.url} (pid {found.pid})", hint="`pacos serve stop` ends it")
    log = log_path()
    _make_folder()
    if log.exists() and log.stat().st_size > _LOG_BYTES_KEPT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "pacos", "serve", *arguments, "--background"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _not_started(log, begin, process.returncode)
        found = running()
        if found is not None and found.pid == process.pid:
            return found
        time.sleep(_POLL_SECONDS)
    process.terminate()
    raise PacosError(f"the server did not listen within {wait_seconds:g} s", hint=f"its log is {log}")


def _not_started(log: Path, begin: int, code: int) -> PacosError:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
    error = PacosError(f"the server ended at once: {said.removeprefix('error: ')}", hint=f"its log is {log}")
    error.exit_code = code if code > 0 else 1
    return error


def stop(wait_seconds: float, *, kill: bool = False) -> Running | None:
    """Tell the server to stop and wait for its end; None when there was none. `kill` ends one that does not end.

    Errors: PacosError when it is still there after `wait_seconds`.
    """
    found = running()
    if found is None:
        return None
    send(found, signal.SIGTERM)
    if _gone_within(found, wait_seconds):
        return found
    if kill:
        send(found, signal.SIGKILL)
        if _gone_within(found, wait_seconds):
            return found
    raise PacosError(f"the server (pid {found.pid}) has not ended within {wait_seconds:g} s", hint="use --kill")


def send(server: Running, number: int) -> None:
    """Signal the server's process, and no other that may have got its number."""
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(server.pid)  # from here on the number cannot become another process
        except ProcessLookupError:
            return
        try:
            if process_began(server.pid) == server.began:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)
    elif process_began(server.pid) == server.began:
        with suppress(ProcessLookupError):
            os.kill(server.pid, number)


def process_began(pid: int) -> str | None:
    """When a process began, in the system's own words; None when there is none of that number."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return None if fields[0] == "Z" else f"{boot}:{fields[19]}"
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _gone_within(server: Running, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process_began(server.pid) != server.began:
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _make_folder() -> None:
    if os.name != "posix":
        raise UsageError("servers in the background need a POSIX system", hint="run `pacos serve` as a service")
    try:
        state_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder {state_folder()} cannot be made: {error.strerror}"
        raise UsageError(problem, hint="name another with PACOS_HOME") from error


@contextmanager
def _lock() -> Iterator[bool]:
    """Hold the lock until the block ends; whether nobody else did. Those who only look hold it for a moment."""
    import fcntl

    _make_folder()
    deadline = time.monotonic() + _LOOK_SECONDS
    with (state_folder() / _LOCK_NAME).open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(_POLL_SECONDS / 10)
            else:
                yield True
                return


def _is_held() -> bool:
    """Whether a server holds the lock."""
    import fcntl

    try:
        with (state_folder() / _LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
