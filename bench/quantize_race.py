"""Race `pacos quantize`, the whole command, against llama.cpp's quantizer, the call alone; each is first once.

python bench/quantize_race.py MODEL PEER_PYTHON [--layers N] [TYPE ...]   (appends to bench/results; files as long)

PEER_PYTHON has llama-cpp-python. Both take two threads and write beside the model. With --layers they quantize a fourth
of the rows of so many layers and a few words, guided by one importance matrix of random numbers.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import race_rows
import race_runs

from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import write_gguf
from pacos.formats.imatrix import Entry, ImportanceMatrix, write_imatrix

TYPES = ("Q4_0", "Q8_0", "Q4_K_M")
THREADS, WORDS, ROWS_PART = 2, 256, 4
RESULTS = Path(__file__).parent / "results" / f"{race_runs.machine()}-quantize.csv"
PEER = """
import ctypes, llama_cpp, numpy, pathlib, sys, time
source, target, kind, threads, matrix = sys.argv[1:]
params = llama_cpp.llama_model_quantize_default_params()
params.nthread, params.ftype = int(threads), getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind)
if pathlib.Path(matrix).is_file():
    kept = dict(numpy.load(matrix))
    pointer = ctypes.POINTER(ctypes.c_float)
    rows = [(name.encode(), one.ctypes.data_as(pointer), one.size) for name, one in kept.items()]
    params.imatrix = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))(*rows)
start = time.perf_counter()
assert llama_cpp.llama_model_quantize(source.encode(), target.encode(), params) == 0
print("seconds", time.perf_counter() - start)
"""


def ours(model: Path, out: Path, kind: str, matrix: Path) -> float:
    """Seconds of the command."""
    start = time.perf_counter()
    line = ["quantize", str(model), str(out), kind, "--threads", f"{THREADS}", "--force"]
    line += ["--imatrix", str(matrix)] if matrix.is_file() else []
    subprocess.run([sys.executable, "-m", "pacos", *line], check=True, capture_output=True)
    return time.perf_counter() - start


def theirs(python: str, model: Path, out: Path, kind: str, matrix: Path) -> float:
    """Seconds of the call."""
    line = [python, "-c", PEER, str(model), str(out), kind, f"{THREADS}", str(matrix.with_suffix(".npz"))]
    said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    return float(said.split("seconds")[1])


def cut(model: Path, layers: int, out: Path, matrix: Path) -> None:
    """Write a part of the rows of some layers, and an importance matrix of random numbers, as GGUF and as npz."""
    means, kept = {}, []
    random = np.random.default_rng(0)
    with read_gguf(model) as archive:
        architecture = archive.metadata["general.architecture"]
        metadata = {key: one for key, one in archive.metadata.items() if not key.startswith("tokenizer.")}
        metadata |= {f"{architecture}.block_count": layers, f"{architecture}.vocab_size": WORDS}
        for name, entry in archive.tensors.items():
            layer = int(name.split(".")[1]) if name.startswith("blk.") else -1
            if layer >= layers:
                continue
            matrices = len(entry.shape) == 2
            rows = entry.shape[0] if not matrices else WORDS if layer < 0 else entry.shape[0] // ROWS_PART
            shape = (rows, *entry.shape[1:])
            kept.append((name, shape, entry.type, archive.data(name)[: entry.nbytes * rows // entry.shape[0]]))
            if layer >= 0 and matrices:
                means[name] = np.exp(random.standard_normal(shape[1], np.float32))
        write_gguf(out, metadata, kept)
    write_imatrix(matrix, ImportanceMatrix({name: Entry(one, [1]) for name, one in means.items()}, ["random"], 1, 512))
    np.savez(matrix.with_suffix(".npz"), **means)


def main() -> None:
    """Race every type and keep the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("peer")
    parser.add_argument("types", nargs="*", default=TYPES)
    parser.add_argument("--layers", type=int, default=0)
    said = parser.parse_intermixed_args()
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    common = {"date": today, "commit": race_runs.commit(), "machine": race_runs.machine(), "threads": THREADS}
    with tempfile.TemporaryDirectory(dir=said.model.parent) as place:
        model, matrix = said.model, Path(place) / "matrix.gguf"
        if said.layers:
            model = Path(place) / f"{said.model.stem}-{said.layers}-layers.gguf"
            cut(said.model, said.layers, model, matrix)
        one, other = (Path(place) / f"{name}.gguf" for name in ("pacos", "llama"))
        for kind in said.types:
            seconds: race_rows.Figures = {"pacos": [ours(model, one, kind, matrix)]}
            seconds["llama_cpp"] = [theirs(said.peer, model, other, kind, matrix) for _ in range(2)]
            seconds["pacos"].append(ours(model, one, kind, matrix))
            if one.stat().st_size != other.stat().st_size and not said.layers:
                raise SystemExit(f"{kind}: the files have {one.stat().st_size} and {other.stat().st_size} bytes")
            row = race_rows.row({**common, "model": model.stem, "case": "quantize"}, kind, "s", seconds, [])
            race_rows.append(RESULTS, [row])
            print(f"{kind}: {row['pacos']} s, llama.cpp {row['llama_cpp']} s, ratio {row['ratio']}", flush=True)


if __name__ == "__main__":
    main()
