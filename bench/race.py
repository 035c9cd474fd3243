"""Race Pacos against llama.cpp on the same file and threads, turn by turn, and keep the medians.

Writes a table to standard output and a row per test to bench/results/<machine>.csv. The peer is the better of
llama.cpp's two settings (with and without repacking weights in memory). Without --peer only Pacos runs.
Units: tokens per second.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEER = "llama-cpp-python==0.3.36"
FIELDS = (
    "date",
    "commit",
    "machine",
    "threads",
    "model",
    "test",
    "pacos",
    "llama_cpp",
    "llama_cpp_no_repack",
    "ratio",
    "share_of_bandwidth",
)


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


def output_of(command: list[str]) -> dict[str, Any]:
    """Run a command that prints one JSON object last."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {test["kind"]: test["runs"] for test in found.get("tests", ())}


def race(options: argparse.Namespace, model: Path) -> dict[str, dict[str, list[float]]]:
    """Rates of every contender, measured in turns."""
    size = ["-p", str(options.p), "-n", str(options.n), "-d", str(options.d), "-t", str(options.threads), "-r", "1"]
    contenders = {"pacos": [sys.executable, "-m", "pacos", "bench", str(model), *size, "--json"]}
    if options.peer:
        peer = [peer_python(options.peer_python), str(ROOT / "bench" / "peer.py"), str(model), *size]
        contenders |= {"llama_cpp": peer, "llama_cpp_no_repack": [*peer, "--no-repack"]}
    rates: dict[str, dict[str, list[float]]] = {name: {"prompt": [], "generate": []} for name in contenders}
    for turn in range(options.rounds):
        for name, command in contenders.items():
            found = output_of(command)
            for test, kept in rates[name].items():
                kept += found.get(test, [])
            print(f"turn {turn + 1} {name}: {found.get('prompt')} {found.get('generate')}", file=sys.stderr)
    return rates


def rows(
    options: argparse.Namespace, model: Path, rates: dict[str, dict[str, list[float]]], bandwidth: float
) -> list[dict[str, object]]:
    """One row a test, medians and the ratio to the better peer."""
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    found = []
    for test, count in (("prompt", options.p), ("generate", options.n)):
        medians = {name: statistics.median(kept[test]) for name, kept in rates.items() if kept[test]}
        if "pacos" not in medians:
            continue
        best = max((rate for name, rate in medians.items() if name != "pacos"), default=0.0)
        share = model.stat().st_size * medians["pacos"] / bandwidth if test == "generate" and bandwidth else ""
        row: dict[str, object] = dict.fromkeys(FIELDS, "")
        row |= {name: round(rate, 2) for name, rate in medians.items()}
        row |= {
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "commit": commit.stdout.strip(),
            "machine": machine(),
            "threads": options.threads,
            "model": model.name,
            "test": f"{test} {count} at depth {options.d}",
            "ratio": round(medians["pacos"] / best, 3) if best else "",
            "share_of_bandwidth": round(share, 3) if share else "",
        }
        found.append(row)
    return found


def machine() -> str:
    """Processor family and core count, enough to tell result files apart."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8") if info.exists() else ""
    best = next((name for name in ("avx512_vnni", "avx_vnni", "avx2") if name in flags), "portable")
    return f"{platform.machine()}-{best}"


def random_model() -> Path:
    """The default model, made at first use: random weights in Q4_K_M, 0.8 GB."""
    path = ROOT / "build" / "cache" / "llama-1b-random-Q4_K_M.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pacos", "bench", str(path), "--make", "1b"], check=True)
    return path


def main() -> None:
    """Parse, race, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files; default: a random one of 1.2 billion weights")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens")
    parser.add_argument("-n", type=int, default=64, help="tokens to generate")
    parser.add_argument("-d", type=int, default=0, help="tokens already in the context")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each contender gets")
    parser.add_argument("--peer", action="store_true", help="race llama.cpp too")
    parser.add_argument("--peer-python", help="Python that has llama-cpp-python; default: an environment made here")
    options = parser.parse_args()
    measured = output_of([sys.executable, "-m", "pacos", "bench", "--machine", "--json", "-t", str(options.threads)])
    bandwidth = float(measured["machine"][0]["bytes_per_second"])
    path = ROOT / "bench" / "results" / f"{machine()}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        for model in options.models or [random_model()]:
            for row in rows(options, model, race(options, model), bandwidth):
                writer.writerow(row)
                print({key: value for key, value in row.items() if value != ""})


if __name__ == "__main__":
    main()
