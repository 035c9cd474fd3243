"""The servers of a load race as processes: Pacos and llama.cpp's, each on a port of its own."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import race_runs

_START_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def pacos(path: Path, port: int, threads: int) -> list[str]:
    """`pacos serve` with its defaults."""
    return race_runs.pacos("serve", str(path), "--port", str(port), "-t", str(threads))


def llama_server(program: Path, path: Path, port: int, threads: int, streams: int, tokens: int) -> list[str]:
    """llama-server with a slot for each stream, as much context as each needs, and no other setting."""
    slot_tokens = -(-(tokens + 8) // 256) * 256
    sizes = ["-np", str(streams), "-c", str(slot_tokens * streams)]
    return [str(program), "-m", str(path), "--port", str(port), "-t", str(threads), *sizes]


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server from when it is ready until the block ends. Errors: OSError with its log when it does not start."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            if not _ready(process, port):
                log.seek(0)
                raise OSError(f"{command[0]} did not start: {log.read()[-2000:].decode(errors='replace')}")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def first_thread_seconds(pid: int) -> float:
    """Processor time of a process's first thread, the event loop of `pacos serve`; 0 where nobody counts it."""
    path = Path(f"/proc/{pid}/task/{pid}/schedstat")
    return int(path.read_text(encoding="ascii").split()[0]) / 1e9 if path.exists() else 0.0


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                if reply.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    return False
