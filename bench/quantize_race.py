"""Race `pacos quantize`, the whole command, against llama.cpp's quantizer, the call alone; each is first once.

python bench/quantize_race.py MODEL PEER_PYTHON [TYPE ...]   (appends to bench/results; the files must be as long)

PEER_PYTHON has llama-cpp-python. Both take two threads and write beside the model.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from pathlib import Path

import race_rows
import race_runs

TYPES = ("Q4_0", "Q8_0", "Q4_K_M")
THREADS = 2
RESULTS = Path(__file__).parent / "results" / f"{race_runs.machine()}-quantize.csv"
PEER = """
import llama_cpp, sys, time
params = llama_cpp.llama_model_quantize_default_params()
params.nthread, params.ftype = int(sys.argv[4]), getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + sys.argv[3])
start = time.perf_counter()
assert llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), params) == 0
print("seconds", time.perf_counter() - start)
"""


def ours(model: Path, out: Path, kind: str) -> float:
    """Seconds of the command."""
    start = time.perf_counter()
    line = ["quantize", str(model), str(out), kind, "--threads", f"{THREADS}", "--force"]
    subprocess.run([sys.executable, "-m", "pacos", *line], check=True, capture_output=True)
    return time.perf_counter() - start


def theirs(python: str, model: Path, out: Path, kind: str) -> float:
    """Seconds of the call."""
    line = [python, "-c", PEER, str(model), str(out), kind, f"{THREADS}"]
    said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    return float(said.split("seconds")[1])


def main() -> None:
    """Race every type and keep the rows."""
    model, python = Path(sys.argv[1]), sys.argv[2]
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    common = {"date": today, "commit": race_runs.commit(), "machine": race_runs.machine()}
    for kind in sys.argv[3:] or TYPES:
        one, other = (model.with_name(f"raced-{name}.gguf") for name in ("pacos", "llama"))
        try:
            seconds: race_rows.Figures = {"pacos": [ours(model, one, kind)]}
            seconds["llama_cpp"] = [theirs(python, model, other, kind), theirs(python, model, other, kind)]
            seconds["pacos"].append(ours(model, one, kind))
            if one.stat().st_size != other.stat().st_size:
                raise SystemExit(f"{kind}: the files have {one.stat().st_size} and {other.stat().st_size} bytes")
        finally:
            one.unlink(missing_ok=True)
            other.unlink(missing_ok=True)
        row = race_rows.row(
            {**common, "threads": THREADS, "model": model.stem, "case": "quantize"}, kind, "s", seconds, []
        )
        race_rows.append(RESULTS, [row])
        print(f"{kind}: {row['pacos']} s, llama.cpp {row['llama_cpp']} s, ratio {row['ratio']}", flush=True)


if __name__ == "__main__":
    main()
