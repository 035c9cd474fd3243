"""Perplexity and divergence of every quantization, beside llama.cpp's with the same importance matrix.

python bench/quantization.py MODEL LLAMA_QUANTIZE   (MODEL: the storyteller in F32, as GGUF; writes bench/results)

The model itself tells the stories: those that the importance matrix is made of, and others that are measured.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from pacos.formats.gguf import read_gguf
from pacos.formats.imatrix import write_imatrix
from pacos.formats.logits import LogitsFile
from pacos.hub.guide import Guide
from pacos.hub.quantize import quantize_file
from pacos.llm import load, perplexity
from pacos.llm.divergence import Divergence
from pacos.llm.importance import Collector

RESULTS = Path(__file__).parent / "results" / "quantization.csv"
TYPES = (
    *("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS"),
    *("Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S"),
    *("IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
)
STORIES, CHUNK_TOKENS, BEGINNING = 160, 256, "Once upon a time"


def stories(model: Path, first_seed: int) -> str:
    """What the model tells with so many seeds."""
    with load(model, ctx_size=512, parallel=8) as llm:
        told = [llm.generate(BEGINNING, seed=first_seed + i, temp=1.0, n_predict=240).text for i in range(STORIES)]
    return "\n".join(BEGINNING + text for text in told)


def bits(path: Path) -> float:
    """Bits for each weight."""
    with read_gguf(path) as archive:
        entries = list(archive.tensors.values())
        return 8 * sum(one.nbytes for one in entries) / sum(weights(one.shape) for one in entries)


def weights(shape: tuple[int, ...]) -> int:
    """Numbers in a tensor."""
    count = 1
    for size in shape:
        count *= size
    return count


def compared(path: Path, base: Path) -> Divergence:
    """A file's predictions beside the base's."""
    with LogitsFile(base) as said, load(path, ctx_size=CHUNK_TOKENS, parallel=1) as llm:
        return perplexity.compare(llm, said, lambda done: None)


def same_tensors(one: Path, other: Path) -> bool:
    """Whether all tensors have equal types and bytes."""
    with read_gguf(one) as a, read_gguf(other) as b:
        return set(a.tensors) == set(b.tensors) and all(
            a.tensors[name].type == b.tensors[name].type and bytes(a.data(name)) == bytes(b.data(name))
            for name in a.tensors
        )


def main() -> None:
    """Measure all types and write the rows."""
    model, peer = Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matrix, base = folder / "imatrix.gguf", folder / "base"
        calibration, measured = stories(model, 1), stories(model, 100_001)
        with (
            load(model, ctx_size=CHUNK_TOKENS, parallel=1) as llm,
            Collector(llm, CHUNK_TOKENS, scored=False) as collector,
        ):
            for chunk in collector.chunks(llm.tokenize(calibration)):
                collector.read(chunk)
            write_imatrix(matrix, collector.matrix("stories"))
        with load(model, ctx_size=CHUNK_TOKENS, parallel=1) as llm:
            perplexity.save_base(
                llm, base, perplexity.chunks_of(llm, llm.tokenize(measured), CHUNK_TOKENS), lambda done: None
            )
        rows = []
        for kind in TYPES:
            ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
            quantize_file(model, ours, kind, guide=Guide.read(matrix))
            subprocess.run([peer, "--imatrix", matrix, model, theirs, kind], check=True, capture_output=True)
            row = {"type": kind, "bits_per_weight": round(bits(ours), 3), "same_tensors": same_tensors(ours, theirs)}
            for who, path in (("pacos", ours), ("llama_cpp", theirs)):
                figures = compared(path, base).figures()
                row[f"perplexity_{who}"] = round(figures["perplexity"][0], 4)
                row[f"divergence_{who}"] = round(figures["divergence"][0], 6)
            row |= {"base_perplexity": round(figures["base_perplexity"][0], 4), "tokens": figures["tokens"]}
            print(row, flush=True)
            rows.append(row)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
