"""Attention over pages: against its numpy body, and bit for bit the same however a sequence is fed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from held_archive import HeldArchive, make_step

from pacos import quants
from pacos.backends import Backend, reference
from pacos.backends.cpu import isas, open_backend
from pacos.backends.cpu.pages import storage_types
from pacos.errors import ShapeError, UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, WeightTable
from pacos.ir.plan import Plan, trace_model
from pacos.types import PageLayout

VOCAB, PAGES, PAGE_TOKENS = 600, 64, 64
BLOCK_TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL")


@dataclass(frozen=True)
class Shape:
    """Heads, key heads, key and value width, window, softcap, storage (of values like that of keys unless named)."""

    heads: int = 4
    key_heads: int = 2
    width: int = 64
    value_width: int = 0
    window: int = 0
    softcap: float = 0.0
    stored: str = "F16"
    page_tokens: int = PAGE_TOKENS
    stored_values: str = ""
    bidirectional: bool = False
    max_bias: float | None = None
    chunk: int | None = None
    sinks: bool = False

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
        tables = {name: rng.standard_normal((VOCAB, width), np.float32) * 1.5 for name, width in widths.items()}
        sinks = {"sinks": rng.standard_normal(shape.heads, np.float32) * 4} if shape.sinks else {}
        self.archive = HeldArchive({f"{name}.weight": values for name, values in (tables | sinks).items()})
        self.plan = trace_model("attention", self._model, self.archive.entries())

    def _model(self, inputs: Inputs, weights: WeightTable) -> Any:
        shape = self.shape
        q, k, v = (ops.embed(inputs.tokens, weights[name]) for name in "qkv")
        y = ops.attention(
            ops.heads(q, width=shape.width),
            ops.heads(k, width=shape.width),
            ops.heads(v, width=shape.values),
            weights.get("sinks"),
            cache=inputs.cache[0],
            scale=shape.width**-0.5,
            window=shape.window,
            softcap=shape.softcap,
            bidirectional=shape.bidirectional,
            max_bias=shape.max_bias,
            chunk=shape.chunk,
        )
        return ops.take(y, inputs.outputs)

    def pages(self, backend: Backend) -> Any:
        shape = self.shape
        layout = PageLayout(
            shape.page_tokens,
            (shape.key_heads * shape.width,),
            (shape.key_heads * shape.values,),
            shape.stored,
            shape.stored_values or shape.stored,
        )
        return backend.pages(PAGES * PAGE_TOKENS // shape.page_tokens, layout)

    def open(self, backend: Backend, pages: Any = None) -> Any:
        weights = backend.upload(self.archive, self.plan.weight_names())
        return backend.compile(self.plan, weights, pages or self.pages(backend), 700)


Feed = Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]]


def run(program: Any, parts: Feed) -> np.ndarray:
    """Results of one step, [T, H * F]."""
    return np.array(program.run(make_step(parts)), np.float32).reshape(-1, program.result_width)


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
    Shape(chunk=100, heads=4, key_heads=1),
    Shape(sinks=True, heads=8, window=70, stored="F32"),
    Shape(page_tokens=256, window=70, stored="F32"),
    Shape(heads=4, key_heads=1, width=20, stored="BF16"),
    *(Shape(stored=name) for name in BLOCK_TYPES),
    *(Shape(heads=3, key_heads=1, width=32, window=80, page_tokens=16, stored=name) for name in BLOCK_TYPES),
    Shape(heads=14, key_heads=2, width=128, value_width=96, page_tokens=256, stored="Q8_0", stored_values="Q5_1"),
    Shape(heads=2, key_heads=2, width=32, value_width=24, stored="Q5_0", stored_values="BF16", softcap=9.0),
    Shape(heads=4, key_heads=4, width=32, stored="F32", bidirectional=True),
    Shape(heads=6, key_heads=2, width=20, value_width=7, bidirectional=True, max_bias=8.0),
    Shape(heads=4, key_heads=2, width=24, bidirectional=True, window=70),
    Shape(heads=2, key_heads=1, width=64, stored="F32", bidirectional=True, window=7),
    Shape(heads=3, key_heads=1, width=24, stored="F32", window=70, softcap=9.0, max_bias=4.0),
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
    "shape",
    [
        *(SHAPES[0], SHAPES[2], SHAPES[5], SHAPES[7]),
        Shape(heads=1, key_heads=1, width=24),
        Shape(heads=2, key_heads=1, width=40, stored="BF16"),
        Shape(heads=6, key_heads=3, width=16, max_bias=8.0),
        *(Shape(heads=7, key_heads=1, width=32, stored=name) for name in BLOCK_TYPES),
    ],
    ids=str,
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


BOTH_WAYS = [shape for shape in SHAPES if shape.bidirectional]


@pytest.mark.parametrize("shape", BOTH_WAYS, ids=str)
def test_both_ways_a_sequence_sees_itself_alone(shape: Shape, backend: Backend) -> None:
    """Alone or among others, in pages that held other keys before: the same bits."""
    bench = Bench(shape)
    alone, among = bench.open(backend), bench.open(backend)
    run(among, [(tokens_of(7, 640), range(640), pages_of(1))])
    parts = [(tokens_of(seed, count), range(count), pages_of(seed)) for seed, count in enumerate((9, 500, 1, 70))]
    together = run(among, parts)
    singly = [run(alone, [part]) for part in parts]
    assert np.concatenate(singly).tobytes() == together.tobytes()
    alone.close()
    among.close()


def test_both_ways_every_token_matters_to_the_first() -> None:
    bench = Bench(BOTH_WAYS[0])
    opened = open_backend(threads=1)
    program = bench.open(opened)
    tokens = tokens_of(3, 40)
    first = run(program, [(tokens, range(40), [0])])[0]
    assert not np.array_equal(run(program, [([*tokens[:-1], tokens[-1] ^ 1], range(40), [0])])[0], first)
    program.close()
    opened.close()
    with pytest.raises(ShapeError, match="chunks of 5 look back alone"):
        Bench(Shape(bidirectional=True, chunk=5))


@pytest.mark.parametrize(
    "shape",
    [
        *(SHAPES[0], Shape(heads=1, key_heads=1, width=128), SHAPES[2], Shape(stored="BF16"), *BOTH_WAYS),
        *(Shape(heads=5, key_heads=1, width=64, stored=name) for name in BLOCK_TYPES),
    ],
    ids=str,
)
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


@pytest.mark.parametrize("stored", storage_types())
def test_a_copied_page_continues_like_its_original(stored: str, backend: Backend) -> None:
    bench = Bench(Shape(stored=stored))
    pages = bench.pages(backend)
    program = bench.open(backend, pages)
    run(program, [(tokens_of(1, 90), range(90), [3, 5])])
    pages.copy(5, 0)
    first = run(program, [([7], [90], [3, 5])])
    second = run(program, [([7], [90], [3, 0])])
    assert first.tobytes() == second.tobytes()
    program.close()


def blocks_in_slab(slab: np.ndarray, stored: str, key_lanes: bool) -> np.ndarray:
    """The blocks of n tokens as files hold them, [n, block_bytes], from a slab as stored.hpp draws it."""
    mins, fifth, eight = stored.endswith("_1"), stored.startswith("Q5"), stored == "Q8_0"
    n = slab.size // quants.row_bytes(stored, 32)
    cuts = np.cumsum([2 * n, 2 * n * mins, 4 * n * fifth])
    d, m, high, codes = np.split(slab, cuts)
    rows = codes.reshape(-1, 16, 16).transpose(2, 0, 1) if key_lanes else codes.reshape(-1, n, 16).transpose(1, 0, 2)
    if not key_lanes:
        fifths = high.reshape(n, -1)
    elif fifth:
        bits = np.unpackbits(high.reshape(4, 16, 1), axis=2, bitorder="little").reshape(4, 16, 4, 2)
        fifths = np.packbits(bits.transpose(1, 3, 0, 2).reshape(16, 32), axis=1, bitorder="little")
    else:
        fifths = high.reshape(n, 0)
    assert rows.shape[1] == 1 + eight
    return np.concatenate([d.reshape(n, 2), m.reshape(n, -1), fifths, rows.reshape(n, -1)], axis=1)


@pytest.mark.parametrize("stored", BLOCK_TYPES)
def test_pages_hold_the_codes_that_files_hold(stored: str, backend: Backend) -> None:
    """Scales and codes of pages are those of `quants.quantize`, the quick ones, bit for bit, zero rows included."""
    bench = Bench(Shape(stored=stored, value_width=96))
    archive = bench.archive
    tables = {name: np.frombuffer(archive.data(name), np.float32).reshape(VOCAB, -1) for name in archive.tensors}
    for table in tables.values():
        table[5] = 0
        table[6, ::3] *= 1e-4
    pages = bench.pages(backend)
    program = bench.open(backend, pages)
    tokens = [5, 6, *tokens_of(1, PAGE_TOKENS - 2)]
    run(program, [(tokens, range(PAGE_TOKENS), [2])])
    block_bytes = quants.row_bytes(stored, 32)
    for name, starts, sizes, n in (
        ("k.weight", pages.keys, pages.key_page_bytes, 16),
        ("v.weight", pages.values, pages.value_page_bytes, PAGE_TOKENS),
    ):
        held = np.frombuffer(ctypes.string_at(starts[0] + 2 * sizes[0], sizes[0]), np.uint8)
        slabs = [blocks_in_slab(slab, stored, n == 16) for slab in held.reshape(-1, n * block_bytes)]
        rows = tables[name][tokens]
        expected = np.frombuffer(quants.quantize(stored, rows, quick=True), np.uint8).reshape(
            PAGE_TOKENS, 2, -1, block_bytes
        )
        heads = expected.transpose(1, 0, 2, 3)  # [heads, tokens, blocks, bytes]
        order = heads.reshape(2, PAGE_TOKENS // n, n, -1, block_bytes).transpose(0, 1, 3, 2, 4)
        assert np.array_equal(np.stack(slabs), order.reshape(-1, n, block_bytes))
    program.close()


def test_storage_that_does_not_fit_is_refused(backend: Backend) -> None:
    with pytest.raises(UnsupportedModel, match=r"type Q4_K is not supported \(use one of F32, .*Q8_0, IQ4_NL, BF16\)"):
        backend.pages(1, PageLayout(64, (256,), (256,), "Q4_K", "F16"))
    with pytest.raises(ShapeError, match="Q8_0 blocks of 32"):
        backend.pages(1, PageLayout(64, (48,), (48,), "Q8_0", "F16"))
    with pytest.raises(UnsupportedModel, match=r"type Q4_0, whose blocks hold 32 numbers, for heads 16 wide"):
        Bench(Shape(width=16, stored="F16", stored_values="Q4_0")).open(backend)


def test_every_storage_type_is_tested() -> None:
    assert set(storage_types()) == {"F32", "F16", "BF16", *BLOCK_TYPES}
    assert {shape.stored for shape in SHAPES} == set(storage_types())
