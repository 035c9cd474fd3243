"""How far Pacos's probabilities are from llama.cpp's on the same file and tokens of a text: the gate of precision.

For each file: mean and 99.9 % quantile of the KL divergence after every token, and how often both put the same token
first. "exact" is Pacos with f32 activations and cache, which neither engine's rounding touches: the distance of each
to it says who rounds. "plain" is llama.cpp without rearranged weights and without flash attention: how far its own two
ways are apart is what another engine can be asked for at most. Exit code 1 when Pacos and llama.cpp differ by more than
the gate.
Units: natural logarithm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from race_runs import ROOT, model_path, peer_python

import pacos

MEAN_MAX, SAME_FIRST_MIN = 5e-4, 0.99
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Distance:
    """Of a distribution from a reference, over all positions."""

    mean: float
    quantile: float
    same_first: float
    positions: int


def distance(reference: NDArray[Any], other: NDArray[Any]) -> Distance:
    """KL(reference || other) of rows of logits. Shapes: [N, V], [N, V]."""
    divergences = []
    same = 0
    for mine, theirs in zip(reference, other, strict=True):  # row by row: a vocabulary is wide
        p, q = _log_softmax(mine), _log_softmax(theirs)
        divergences.append(float(np.sum(np.exp(p) * (p - q))))
        same += int(p.argmax() == q.argmax())
    count = len(divergences)
    return Distance(float(np.mean(divergences)), float(np.quantile(divergences, 0.999)), same / count, count)


def _log_softmax(row: NDArray[Any]) -> Floats:
    shifted = row.astype(np.float64) - float(row.max())
    return shifted - np.log(np.exp(shifted).sum())


def chunks_of(path: Path, text: str, size: int, count: int) -> list[list[int]]:
    """Pieces of a text as the model's token ids, each beginning with BOS where the model has one."""
    with pacos.load(path, vocab_only=True) as llm:
        tokens = llm.tokenize(text)
        bos = llm.tokenizer.bos if llm.tokenizer.add_bos else None
    found = [tokens[start : start + size] for start in range(0, len(tokens) - size + 1, size)][:count]
    if bos is not None:
        found = [[bos, *chunk[1:]] for chunk in found]
    return found


def ours(path: Path, chunks: list[list[int]], **settings: Any) -> NDArray[np.float32]:
    """Pacos's logits. Shapes: [chunks * T, V]."""
    with pacos.load(path, ctx_size=len(chunks[0]), parallel=1, **settings) as llm:
        return np.concatenate([llm.logits(chunk) for chunk in chunks])


def theirs(path: Path, chunks: list[list[int]], python: str, threads: int, *more: str) -> NDArray[np.float32]:
    """llama.cpp's logits; `more` are flags of peer_logits.py. Shapes: [chunks * T, V]."""
    with tempfile.TemporaryDirectory() as folder:
        tokens, out = Path(folder) / "tokens.json", Path(folder) / "logits"
        tokens.write_text(json.dumps(chunks), encoding="utf-8")
        script = ROOT / "bench" / "peer_logits.py"
        command = [python, str(script), str(path), str(tokens), str(out), "-t", str(threads)]
        subprocess.run([*command, *more], check=True)
        count = len(chunks) * len(chunks[0])
        return np.fromfile(out, np.float32).reshape(count, -1)


def main() -> None:
    """Parse, compare, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="GGUF files, storyteller, or types of random 1B models")
    parser.add_argument("-f", "--file", type=Path, required=True, help="the text")
    parser.add_argument("-c", "--chunk", type=int, default=256, help="tokens of a chunk")
    parser.add_argument("--chunks", type=int, default=1)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="compare llama.cpp's two ways too")
    parser.add_argument("--no-exact", action="store_true", help="leave out the exact reference, which is slow")
    parser.add_argument("--models", dest="folder", type=Path, default=ROOT / "build" / "cache")
    parser.add_argument("--peer-python")
    options = parser.parse_args()
    text = options.file.read_text(encoding="utf-8")
    python = peer_python(options.peer_python)
    failed = False
    print("| file | positions | pair | mean KL | 99.9 % | same first token |\n|---|---|---|---|---|---|")
    for model in options.models:
        path = model_path(model, options.folder, 300)
        chunks = chunks_of(path, text, options.chunk, options.chunks)
        peer = theirs(path, chunks, python, options.threads)
        mine = ours(path, chunks, threads=options.threads)
        pairs = {"llama.cpp, pacos": distance(peer, mine)}
        if options.plain:
            plain = theirs(path, chunks, python, options.threads, "--no-repack", "--no-flash-attention")
            pairs |= {"llama.cpp, plain": distance(peer, plain), "plain, pacos": distance(plain, mine)}
        if not options.no_exact:
            exact_settings = {"activations": "f32", "cache_type_k": "f32", "cache_type_v": "f32"}
            exact = ours(path, chunks, threads=options.threads, **exact_settings)
            pairs |= {"exact, llama.cpp": distance(exact, peer), "exact, pacos": distance(exact, mine)}
        for pair, found in pairs.items():
            figures = f"{found.mean:.2e} | {found.quantile:.2e} | {found.same_first * 100:.1f} %"
            print(f"| {path.stem} | {found.positions} | {pair} | {figures} |", flush=True)
        first = pairs["llama.cpp, pacos"]
        failed |= first.mean > MEAN_MAX or first.same_first < SAME_FIRST_MIN
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
