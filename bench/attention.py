"""Time the attention op alone, layer after layer as in a model: microseconds a layer, GB/s of cache, GFLOPS.

Usage: python bench/attention.py [--depth 4096] [--tokens 1] [--type f16] [--heads 32 --key-heads 8 --width 64]
Units: bytes of keys and values that a step must read once; a multiplication and its addition count as two operations.
"""

from __future__ import annotations

import argparse
import statistics
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from pacos.backends.cpu import open_backend
from pacos.engine.room import page_bytes
from pacos.ir import ops
from pacos.ir.graph import Inputs, WeightTable
from pacos.ir.plan import trace_model
from pacos.types import PageLayout, Step, TensorEntry

VOCAB, PAGE_TOKENS = 64, 64


class Rows:
    """An archive of three random tables in memory: queries, keys and values by token."""

    def __init__(self, widths: dict[str, int]) -> None:
        rng = np.random.default_rng(0)
        self.path, self.metadata = Path("rows"), dict[str, Any]()
        self._arrays = {name: rng.standard_normal((VOCAB, width), np.float32) for name, width in widths.items()}
        self.tensors = {
            name: TensorEntry(name, values.shape, "F32", 0, 0, values.nbytes) for name, values in self._arrays.items()
        }

    def data(self, name: str) -> memoryview:
        """Raw bytes of a table."""
        return memoryview(self._arrays[name]).cast("B")

    def address(self, name: str) -> int:
        """Address of a table's first byte."""
        return int(self._arrays[name].ctypes.data)

    def close(self) -> None:
        """Nothing to release."""


def open_program(options: argparse.Namespace) -> tuple[Any, PageLayout]:
    """A program of `layers` attention ops; each one's result is the next one's queries."""
    width = options.width
    widths = {"q.weight": options.heads * width, "k.weight": options.key_heads * width}
    rows = Rows(widths | {"v.weight": widths["k.weight"]})

    def model(inputs: Inputs, weights: WeightTable) -> Any:
        x, k, v = (ops.embed(inputs.tokens, weights[name]) for name in "qkv")
        for layer in range(options.layers):
            q, keys, values = (ops.heads(one, width=width) for one in (x, k, v))
            x = ops.attention(q, keys, values, cache=inputs.cache[layer], scale=width**-0.5, window=options.window)
        return ops.take(x, inputs.outputs)

    plan = trace_model("attention", model, {name: (entry.shape, "F32") for name, entry in rows.tensors.items()})
    kind = options.type.upper()
    layout = PageLayout(PAGE_TOKENS, *((widths["k.weight"],) * options.layers for _ in "kv"), kind, kind)
    backend = open_backend(threads=options.threads, isa=options.isa or None)
    pages = backend.pages(-(-(options.depth + options.tokens) // PAGE_TOKENS), layout)
    return backend.compile(plan, backend.upload(rows, plan.weight_names()), pages, 512), layout


def run(program: Any, first: int, last: int) -> float:
    """Seconds that the attention ops take for the tokens at these positions, steps of at most 512."""
    program.profile(True)
    for begin in range(first, last, 512):
        end = min(last, begin + 512)
        tokens = array("i", ((position * 7919 + 1) % VOCAB for position in range(begin, end)))
        positions, table = array("i", range(begin, end)), array("i", range(-(-end // PAGE_TOKENS)))
        program.run(Step(tokens, positions, array("i", [0, end - begin]), (table,), array("i", [0])))
    return float(sum(one.seconds for one in program.times() if one.op == "attention"))


def main() -> None:
    """Fill the cache, then time; the median of the repetitions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", default="f16")
    parser.add_argument("--isa", default="")
    numbers = {"depth": 4096, "tokens": 1, "heads": 32, "key-heads": 8, "width": 64, "layers": 16, "window": 0}
    for name, default in (numbers | {"threads": 2, "repetitions": 9}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    program, layout = open_program(options)
    filling = run(program, 0, options.depth)
    last = options.depth + options.tokens
    took = statistics.median(run(program, options.depth, last) for _ in range(options.repetitions))
    seen = sum(range(options.depth + 1, last + 1))
    held = page_bytes(layout) / PAGE_TOKENS * last
    operations = 4.0 * seen * options.width * options.heads * options.layers
    filled = 2.0 * options.depth * options.depth * options.width * options.heads * options.layers
    print(
        f"{options.type:7} depth {options.depth} + {options.tokens}: {took / options.layers * 1e6:9.1f} us a layer, "
        f"{took * 1e3:8.2f} ms, {held / took / 1e9:5.1f} GB/s, {operations / took / 1e9:6.1f} GFLOPS; "
        f"filling {filling:.2f} s, {filled / filling / 1e9:.1f} GFLOPS"
    )


if __name__ == "__main__":
    main()
