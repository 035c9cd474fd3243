"""Run the contenders of a race as processes of their own, and watch who else uses the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from race_cases import Case

ROOT = Path(__file__).resolve().parent.parent
PEER = "llama-cpp-python==0.3.36"
PROMPT = "a b c d e f g h i j k l m n o p q r s"  # a token each, and BOS
PROMPT_TOKENS = "20"
REPACKED = {"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"}  # what llama.cpp rearranges; of others both settings are alike
BUSY_CPU = 0.15  # cores that others may use before a measurement counts as disturbed
CALM_SECONDS = 10
_SAMPLE_SECONDS = 0.4


def peer_python(given: str | None) -> str:
    """Python of an environment that has the peer; made under .venv-peer when none is given."""
    if given:
        return given
    home = ROOT / ".venv-peer"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PEER], check=True)
    return str(python)


def pacos(*arguments: str) -> list[str]:
    """A command of this Pacos."""
    return [sys.executable, "-m", "pacos", *arguments]


def output_of(command: list[str], limit_seconds: float) -> dict[str, Any]:
    """Run a command that prints one JSON object last; its time from outside is under "process_seconds".

    Errors: subprocess.SubprocessError, with what it said, when it fails or takes too long.
    """
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit_seconds)
    seconds = time.perf_counter() - start
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise subprocess.SubprocessError(f"exit code {done.returncode}: {' '.join(said)}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"process_seconds": seconds}


def model_path(model: str, folder: Path, limit_seconds: float) -> Path:
    """The file of a case's model; a random one is made at first use.

    Errors: FileNotFoundError, or SubprocessError for a type that cannot be made.
    """
    given = Path(model)
    if given.suffix == ".gguf":
        return given
    if model == "storyteller":
        return ROOT / "src" / "pacos" / "data" / "storyteller.gguf"
    if model == "stories260K":
        return folder / "stories260K.gguf"
    path = folder / f"llama-1b-random-{model}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = pacos("bench", str(path), "--make", "1b", "--make-type", model)
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit_seconds)
        if done.returncode:
            raise subprocess.SubprocessError(done.stderr.strip())
    return path


def read_through(path: Path) -> None:
    """Read a file once, so that whoever runs first finds it in memory too."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def settings_that_differ(path: Path, peers: tuple[str, ...]) -> tuple[str, ...]:
    """Of llama.cpp's settings those worth racing: without a type that is repacked, both are the same."""
    found = output_of(pacos("show", str(path), "--json"), 60)
    return peers if REPACKED & set(found["weights"]["types"]) else peers[:1]


def commands(case: Case, path: Path, threads: int, peer: str | None) -> dict[str, list[str]]:
    """The command of each contender, Pacos first."""
    shared = ["-p", case.prompt, "-n", case.generate, "-d", case.depth, "-np", case.parallel, "-t", str(threads)]
    shared += ["-r", "1", "-ctk", case.cache, "-ctv", case.cache]
    if case.first_token:
        shared = ["-p", PROMPT_TOKENS, "-t", str(threads), "--first-token"]
    found = {"pacos": pacos("bench", str(path), *shared, "--json")}
    if case.first_token:
        found["pacos"] = [sys.executable, str(ROOT / "bench" / "first_token.py"), str(path), *shared[:-1]]
        run = pacos("run", str(path), "--raw", "-p", PROMPT, "-n", "1", "--temp", "0", "-t", str(threads), "--json")
        found["pacos run"] = run
    if peer:
        command = [peer, str(ROOT / "bench" / "peer.py"), str(path), *shared]
        both = {"llama_cpp": command, "llama_cpp_no_repack": [*command, "--no-repack"]}
        found |= {name: both[name] for name in settings_that_differ(path, case.peers)}
    return found


@contextmanager
def one_core_busy(wanted: bool) -> Iterator[None]:
    """Have another process use a core meanwhile."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def others_cpu() -> float | None:
    """Cores that are in use, or taken by the machine's host, while this process waits; None where nobody counts."""
    before = _busy_ticks()
    time.sleep(_SAMPLE_SECONDS)
    after = _busy_ticks()
    if before is None or after is None:
        return None
    return (after - before) / os.sysconf("SC_CLK_TCK") / _SAMPLE_SECONDS


def _busy_ticks() -> int | None:
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, irq, soft, steal = map(int, path.read_text(encoding="ascii").split()[1:9])
    return user + nice + system + irq + soft + steal


def calm() -> float | None:
    """Wait a while for others to stop; gives the cores that they use then, and warns when it is too much."""
    end = time.monotonic() + CALM_SECONDS
    while (found := others_cpu()) is not None and found > BUSY_CPU and time.monotonic() < end:
        time.sleep(1)
    if found is not None and found > BUSY_CPU:
        load = os.getloadavg()[0]
        print(f"WARNING: others use {found:.2f} cores (load {load:.1f}): figures will be wrong", file=sys.stderr)
    return found


def machine() -> str:
    """Processor family and instruction set, enough to tell result files apart."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8") if info.exists() else ""
    best = next((name for name in ("avx512_vnni", "avx_vnni", "avx2") if name in flags), "portable")
    return f"{platform.machine()}-{best}"


def commit() -> str:
    """The commit that is measured; "+" says that files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
