"""Attention over pages: against its numpy body, and bit for bit the same however a sequence is fed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from held_archive import HeldArchive, make_step

from pacos.backends import Backend, reference
from pacos.backends.cpu import isas, open_backend
from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, WeightTable
from pacos.ir.plan import Plan, trace_model
from pacos.types import PageLayout

VOCAB, PAGES, PAGE_TOKENS = 600, 64, 64


@dataclass(frozen=True)
class Shape:
    """Heads, key heads, key and value width, window, softcap, storage."""

    heads: int = 4
    key_heads: int = 2
    width: int = 64
    value_width: int = 0
    window: int = 0
    softcap: float = 0.0
    stored: str = "F16"
    page_tokens: int = PAGE_TOKENS

    @property
    def values(self) -> int:
        return self.value_width or self.width


@dataclass
class Bench:
    """One attention layer whose queries, keys and values are rows picked by token."""

    shape: Shape
    archive: HeldArchive = field(init=False)
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        shape, rng = self.shape, np.random.default_rng(self.shape.width * 31 + self.shape.heads)
        widths = {
            "q": shape.heads * shape.width,
            "k": shape.key_heads * shape.width,
            "v": shape.key_heads * shape.values,
        }
        self.archive = HeldArchive(
            {f"{name}.weight": rng.standard_normal((VOCAB, width), np.float32) * 1.5 for name, width in widths.items()}
        )
        self.plan = trace_model("attention", self._model, self.archive.entries())

    def _model(self, inputs: Inputs, weights: WeightTable) -> Any:
        shape = self.shape
        q, k, v = (ops.embed(inputs.tokens, weights[name]) for name in "qkv")
        y = ops.attention(
            ops.heads(q, width=shape.width),
            ops.heads(k, width=shape.width),
            ops.heads(v, width=shape.values),
            cache=inputs.cache[0],
            scale=shape.width**-0.5,
            window=shape.window,
            softcap=shape.softcap,
        )
        return ops.take(y, inputs.outputs)

    def open(self, backend: Backend, max_tokens: int = 700) -> Any:
        shape = self.shape
        layout = PageLayout(
            shape.page_tokens,
            (shape.key_heads * shape.width,),
            (shape.key_heads * shape.values,),
            shape.stored,
            shape.stored,
        )
        weights = backend.upload(self.archive, self.plan.weight_names())
        count = PAGES * PAGE_TOKENS // shape.page_tokens
        return backend.compile(self.plan, weights, backend.pages(count, layout), max_tokens)


Feed = Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]]


def run(program: Any, parts: Feed) -> np.ndarray:
    """Results of one step, [T, H * F]."""
    return np.array(program.run(make_step(parts)), np.float32).reshape(-1, program.vocab_size)


@pytest.fixture(scope="module", params=isas())
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened = open_backend(threads=2, isa=request.param)
    yield opened
    opened.close()


def tokens_of(seed: int, count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, VOCAB, count)]


def pages_of(seed: int, count: int = 12, page_tokens: int = PAGE_TOKENS) -> list[int]:
    """Some pages in random order, disjoint for seeds 0 to 3."""
    share = PAGES * PAGE_TOKENS // page_tokens // 4
    return [int(page) + share * seed for page in np.random.default_rng(seed).permutation(share)[:count]]


SHAPES = [
    Shape(),
    Shape(heads=1, key_heads=1, width=8, stored="F32"),
    Shape(heads=8, key_heads=1, width=20),
    Shape(heads=2, key_heads=2, width=80, stored="F32"),
    Shape(heads=8, key_heads=2, width=96, softcap=5.0),
    Shape(heads=4, key_heads=1, width=128, window=100),
    Shape(heads=2, key_heads=1, width=256, window=3),
    Shape(heads=3, key_heads=3, width=64, value_width=40, window=64, softcap=20.0),
    Shape(heads=9, key_heads=3, width=16, value_width=7, stored="F32", window=300),
    Shape(heads=101, key_heads=1, width=16),
    Shape(page_tokens=16),
    Shape(page_tokens=256, window=70, stored="F32"),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_numpy_body(shape: Shape, backend: Backend) -> None:
    """Several sequences of different lengths, in pages of any order, prompt and continuation."""
    bench = Bench(shape)
    found, expected = bench.open(backend), bench.open(reference.open_backend())
    per_page = PAGE_TOKENS / shape.page_tokens
    tables = [pages_of(seed, max(3, int(12 * per_page)), shape.page_tokens) for seed in range(4)]
    lengths = [(300, 1), (1, 65), (77, 3)]
    feeds = []
    for phase in range(2):
        starts = [0 if phase == 0 else pair[0] for pair in lengths]
        counts = [pair[phase] for pair in lengths]
        feeds.append(
            [
                (tokens_of(seed * 10 + phase, count), range(start, start + count), tables[seed])
                for seed, (start, count) in enumerate(zip(starts, counts, strict=True))
            ]
        )
    for feed in feeds:
        ours, theirs = run(found, feed), run(expected, feed)
        assert np.abs(ours - theirs).max() <= 5e-6 * np.abs(theirs).max()
    found.close()


@pytest.mark.parametrize(
    "shape", [SHAPES[0], SHAPES[2], SHAPES[5], SHAPES[7], Shape(heads=1, key_heads=1, width=24)], ids=str
)
def test_the_way_a_sequence_is_fed_changes_no_bit(shape: Shape, backend: Backend) -> None:
    """At once, in chunks, token by token, among others: the same bits; keys behind a sequence's end are never read."""
    bench = Bench(shape)
    length = 620
    tokens, pages = tokens_of(1, length), pages_of(1)
    program = bench.open(backend)
    whole = run(program, [(tokens, range(length), pages)])
    poison = Bench(shape).open(backend)
    run(poison, [(tokens_of(7, 600), range(600), pages)])  # pages that are used again hold old keys
    for cut in ([600, 20], [1, 255, 1, 3, 360], [64] * 9 + [44]):
        rows, start = [], 0
        for count in cut:
            rows.append(run(poison, [(tokens[start : start + count], range(start, start + count), pages)]))
            start += count
        assert np.concatenate(rows).tobytes() == whole.tobytes()
    single = [run(poison, [([tokens[i]], [i], pages)]) for i in range(80)]
    assert np.concatenate(single).tobytes() == whole[:80].tobytes()
    late = [run(poison, [([tokens[i]], [i], pages)]) for i in range(600, 620)]
    assert np.concatenate(late).tobytes() == whole[600:].tobytes()
    others = [
        (tokens_of(2, 9), range(9), pages_of(2)),
        (tokens, range(length), pages),
        (tokens_of(3, 70), range(70), pages_of(3)),
    ]
    assert run(program, others)[9 : 9 + length].tobytes() == whole.tobytes()
    program.close()
    poison.close()


@pytest.mark.parametrize("shape", [SHAPES[0], Shape(heads=1, key_heads=1, width=128), SHAPES[2]], ids=str)
def test_threads_and_instruction_sets_change_no_bit(shape: Shape) -> None:
    """Long sequences are split over threads when there are few heads: their pieces merge in the same order."""
    bench = Bench(shape)
    tokens, pages = tokens_of(4, 700), pages_of(0)
    results = set()
    for isa in isas():
        for threads in (1, 2, 5):
            opened = open_backend(threads=threads, isa=isa)
            program = bench.open(opened)
            rows = [run(program, [(tokens[:650], range(650), pages)])]
            rows += [run(program, [(tokens[i : i + 5], range(i, i + 5), pages)]) for i in range(650, 700, 5)]
            rows += [run(program, [([tokens[699]], [699], pages)])]
            results.add(np.concatenate(rows).tobytes())
            program.close()
            opened.close()
    assert len(results) == 1


def test_a_copied_page_continues_like_its_original(backend: Backend) -> None:
    bench = Bench(Shape())
    layout = PageLayout(64, (128,), (128,))
    pages = backend.pages(8, layout)
    program = backend.compile(bench.plan, backend.upload(bench.archive, bench.plan.weight_names()), pages, 100)
    run(program, [(tokens_of(1, 90), range(90), [3, 5])])
    pages.copy(5, 0)
    first = run(program, [([7], [90], [3, 5])])
    second = run(program, [([7], [90], [3, 0])])
    assert first.tobytes() == second.tobytes()
    program.close()


def test_storage_that_is_not_there_yet_is_refused(backend: Backend) -> None:
    with pytest.raises(UnsupportedModel, match="Q8_0"):
        backend.pages(1, PageLayout(64, (64,), (64,), "Q8_0", "F16"))
