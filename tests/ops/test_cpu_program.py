"""Whole programs on the CPU backend: a decoder against the reference, bad steps, cancelling, profiling, memory."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from held_archive import HeldArchive, make_step

from pacos.backends import reference
from pacos.backends.cpu import CpuBackend, isas, open_backend
from pacos.backends.cpu.arena import Lifetime, place
from pacos.backends.cpu.compile import compile_plan
from pacos.errors import Cancelled, CapacityError, FormatError, NativeError, ShapeError, UnsupportedModel, UsageError
from pacos.ir import ops
from pacos.ir.graph import Inputs, WeightTable
from pacos.ir.ops.rope import RopeSpec
from pacos.ir.passes import optimise
from pacos.ir.plan import Plan, trace_model
from pacos.types import PageLayout, Step, TensorEntry

VOCAB, WIDTH, HIDDEN, HEADS, KEY_HEADS, HEAD, LAYERS = 320, 256, 512, 4, 2, 64, 2
LAYOUT = PageLayout(64, (KEY_HEADS * HEAD,) * LAYERS, (KEY_HEADS * HEAD,) * LAYERS)
ROPE = RopeSpec(HEAD)


def decoder(inputs: Inputs, weights: WeightTable) -> Any:
    """A llama of two layers with biases and norms on heads, so that most ops occur."""
    x = ops.embed(inputs.tokens, weights["token_embd"])
    for i in range(LAYERS):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=1e-5)
        q = ops.heads(ops.linear(h, w["attn_q"], w["attn_q.bias"]), width=HEAD)
        k, v = (ops.heads(ops.linear(h, w[name]), width=HEAD) for name in ("attn_k", "attn_v"))
        q = ops.rope(ops.rms_norm(q, w["attn_q_norm"], eps=1e-5), inputs.positions, ROPE)
        k = ops.rope(k, inputs.positions, ROPE)
        y = ops.attention(q, k, v, cache=inputs.cache[i], scale=HEAD**-0.5)
        x = x + ops.linear(y, w["attn_output"])
        h = ops.layer_norm(x, w["ffn_norm"], None, eps=1e-5)
        both = ops.linear(h, w["ffn_both"])
        gate, up = ops.columns(both, start=0, stop=HIDDEN), ops.columns(both, start=HIDDEN, stop=2 * HIDDEN)
        x = x + ops.linear(ops.silu(gate) * up, w["ffn_down"])
    x = ops.rms_norm(ops.take(x, inputs.outputs), weights["output_norm"], eps=1e-5)
    return ops.linear(x, weights["token_embd"])


def decoder_archive(kind: str, vectors: str = "F32") -> HeldArchive:
    rng = np.random.default_rng(11)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,)}
    for i in range(LAYERS):
        block = {
            "attn_norm.weight": (WIDTH,),
            "attn_q.weight": (HEADS * HEAD, WIDTH),
            "attn_q.bias": (HEADS * HEAD,),
            "attn_k.weight": (KEY_HEADS * HEAD, WIDTH),
            "attn_v.weight": (KEY_HEADS * HEAD, WIDTH),
            "attn_q_norm.weight": (HEAD,),
            "attn_output.weight": (WIDTH, HEADS * HEAD),
            "ffn_norm.weight": (WIDTH,),
            "ffn_both.weight": (2 * HIDDEN, WIDTH),
            "ffn_down.weight": (WIDTH, HIDDEN),
        }
        shapes |= {f"blk.{i}.{name}": shape for name, shape in block.items()}
    arrays = {
        name: rng.standard_normal(shape, np.float32) * 0.1 + (0 if len(shape) > 1 or "bias" in name else 1)
        for name, shape in shapes.items()
    }
    return HeldArchive(arrays, {name: kind if len(shape) > 1 else vectors for name, shape in shapes.items()})


def decoder_plan(archive: HeldArchive) -> Plan:
    return trace_model("decoder", decoder, archive.entries())


def open_program(backend: Any, archive: HeldArchive, max_tokens: int = 160, layout: PageLayout = LAYOUT) -> Any:
    plan = decoder_plan(archive)
    return backend.compile(plan, backend.upload(archive, plan.weight_names()), backend.pages(16, layout), max_tokens)


def prompt(seed: int, count: int, pages: list[int], start: int = 0) -> tuple[list[int], range, list[int]]:
    tokens = np.random.default_rng(seed).integers(0, VOCAB, 400)[start : start + count]
    return [int(token) for token in tokens], range(start, start + count), pages


def logits(program: Any, *parts: Any, outputs: list[int] | None = None) -> np.ndarray:
    return np.array(program.run(make_step(parts, outputs)), np.float32).reshape(-1, VOCAB)


@pytest.fixture(scope="module", params=isas())
def backend(request: pytest.FixtureRequest) -> Iterator[CpuBackend]:
    opened = open_backend(threads=2, isa=request.param)
    yield opened
    opened.close()


@pytest.fixture
def program(backend: CpuBackend) -> Iterator[Any]:
    made = open_program(backend, decoder_archive("Q8_0"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("kind", "bound"), [("F32", 5e-6), ("F16", 5e-6), ("BF16", 5e-6), ("Q8_0", 0.05), ("Q4_K", 0.06)]
)
def test_a_decoder_agrees_with_the_reference(kind: str, bound: float, backend: CpuBackend) -> None:
    """Float weights to rounding; quantised ones to what eight-bit activations cost."""
    archive = decoder_archive(kind, vectors="F16" if kind == "F16" else "F32")
    exact = replace(LAYOUT, type_k="F32", type_v="F32")  # a key at the edge of two halves would hide small errors
    ours, theirs = (open_program(one, archive, layout=exact) for one in (backend, reference.open_backend()))
    parts = [prompt(1, 70, [3, 1]), prompt(2, 1, [5]), prompt(3, 33, [7])]
    expected, found = logits(theirs, *parts), logits(ours, *parts)
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) <= bound
    ours.close()


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q4_K"])
def test_exact_activations_agree_with_the_reference_to_rounding(kind: str) -> None:
    backend = open_backend(threads=2, activations="f32")
    archive = decoder_archive(kind)
    exact = replace(LAYOUT, type_k="F32", type_v="F32")
    ours, theirs = (open_program(one, archive, layout=exact) for one in (backend, reference.open_backend()))
    expected, found = (logits(one, prompt(1, 70, [3, 1]), prompt(2, 1, [5])) for one in (theirs, ours))
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) <= 5e-6
    backend.close()


@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0", "Q6_K", "Q4_K"])
def test_batches_chunks_and_threads_change_no_bit(kind: str) -> None:
    archive = decoder_archive(kind)
    results = set()
    for threads, isa in [(1, isas()[0]), *((2, isa) for isa in isas())]:
        opened = open_backend(threads=threads, isa=isa)
        program = open_program(opened, archive)
        whole = logits(program, prompt(1, 100, [3, 1]))
        pieces = [logits(program, prompt(1, count, [4, 6], start)) for start, count in ((0, 61), (61, 2), (63, 37))]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()
        single = [logits(program, prompt(1, 1, [4, 6], i)) for i in range(60, 70)]
        assert np.concatenate(single).tobytes() == whole[60:70].tobytes()
        among = logits(program, prompt(2, 1, [5]), prompt(1, 100, [2, 7]), prompt(3, 20, [10]))
        assert among[1:101].tobytes() == whole.tobytes()
        results.add(whole.tobytes())
        program.close()
        opened.close()
    assert len(results) == 1


def random_model(seed: int) -> tuple[Any, HeldArchive]:
    """A model of random ops whose values live for long and short, seen whole and as columns."""
    rng = np.random.default_rng(seed)
    widths = [int(width) for width in rng.choice([16, 24, 48, 80, 96], 4)]
    arrays: dict[str, np.ndarray] = {f"table{w}.weight": rng.standard_normal((VOCAB, w)) for w in widths}
    arrays |= {f"m{a}x{b}.weight": rng.standard_normal((b, a)) / a**0.5 for a in widths for b in widths}
    arrays |= {f"norm{w}.weight": 1 + 0.1 * rng.standard_normal(w) for w in widths}
    choices = rng.integers(0, 1 << 30, (40, 3)).tolist()

    def model(inputs: Inputs, weights: WeightTable) -> Any:
        made = [ops.embed(inputs.tokens, weights[f"table{w}"]) for w in widths]
        for kind, first, second in choices:
            x, y = made[first % len(made)], made[second % len(made)]
            width = x.shape[-1]
            if kind % 6 == 0:
                z = ops.linear(x, weights[f"m{width}x{widths[second % 4]}"])
            elif kind % 6 == 1:
                z = ops.rms_norm(x, weights[f"norm{width}"], eps=1e-3)
            elif kind % 6 == 2 and y.shape == x.shape:
                z = ops.silu(x) * y
            elif kind % 6 == 3:
                part = ops.columns(x, start=8, stop=width)
                z = ops.linear(ops.softcap(x, cap=2.0), weights[f"m{width}x{width}"])
                made.append(ops.linear(ops.linear(x, weights[f"m{width}x{width}"]), weights[f"m{width}x{width}"]))
                if part.shape[-1] in widths:
                    z = part
            elif kind % 6 == 4:
                z = ops.mul(x, ops.rms_norm(x, weights[f"norm{width}"], eps=1e-3))
            else:
                z = ops.add(x, ops.scale(x, factor=0.5))
            made.append(z)
        result = ops.take(made[-1], inputs.outputs)
        return ops.columns(result, start=3, stop=result.shape[-1]) if seed % 2 else result

    return model, HeldArchive(arrays)


@pytest.mark.parametrize("seed", range(24))
def test_random_plans_agree_with_the_reference(seed: int) -> None:
    """Values that share memory never overwrite each other, and views see the right numbers."""
    model, archive = random_model(seed)
    plan = trace_model("random", model, archive.entries())
    found = []
    for backend in (open_backend(threads=2), reference.open_backend()):
        weights = backend.upload(archive, plan.weight_names())
        program = backend.compile(plan, weights, backend.pages(16, replace(LAYOUT, key_width=(), value_width=())), 50)
        found.append(np.array(program.run(make_step([prompt(seed, 33, [0])])), np.float32))
        program.close()
        backend.close()
    assert np.abs(found[0] - found[1]).max() <= 2e-4 * np.abs(found[1]).max()


def test_outputs_choose_rows(program: Any) -> None:
    part = prompt(1, 10, [0])
    every = logits(program, part)
    assert logits(program, part, outputs=[9, 0]).tobytes() == every[[9, 0]].tobytes()
    assert len(program.run(make_step([part], []))) == 0


def broken_steps() -> list[tuple[str, Step]]:
    good = make_step([prompt(1, 4, [0]), prompt(2, 2, [1])])

    def with_(**changes: Any) -> Step:
        return replace(
            good, **{key: array("i", value) if isinstance(value, list) else value for key, value in changes.items()}
        )

    huge = make_step([prompt(1, 161, [0, 1, 2])])
    return [
        ("161 tokens", huge),
        ("token 320 at 2", with_(tokens=[1, 2, VOCAB, 3, 4, 5])),
        ("token -1", with_(tokens=[1, 2, -1, 3, 4, 5])),
        ("position -1", with_(positions=[-1, 1, 2, 3, 0, 1])),
        ("does not follow", with_(positions=[0, 1, 1, 3, 0, 1])),
        ("has pages for 64 positions", with_(positions=[0, 1, 2, 64, 0, 1])),
        ("has pages for 0 positions", with_(page_tables=(array("i", [0]), array("i")))),
        ("page 16 of 16", with_(page_tables=(array("i", [16]), array("i", [0])))),
        ("page -1", with_(page_tables=(array("i", [0]), array("i", [-1])))),
        ("output 6", with_(outputs=[6])),
        ("output -1", with_(outputs=[0, -1])),
        ("sequence_starts", with_(sequence_starts=[0, 4, 5])),
        ("sequence_starts", with_(sequence_starts=[0, 7, 6])),
        ("sequence_starts", with_(sequence_starts=[0, 0, 6])),
        ("sequence_starts", with_(sequence_starts=[0, -4, 6])),
        ("sequence_starts", with_(sequence_starts=[1, 4, 6])),
        ("5 positions", with_(positions=[0, 1, 2, 3, 0])),
        ("1 page tables", with_(page_tables=(array("i", [0]),))),
        ("0 sequence starts", with_(sequence_starts=array("i"), page_tables=())),
        ("0 tokens", Step(array("i"), array("i"), array("i", [0, 0]), (array("i", [0]),), array("i"))),
        ("array", with_(tokens=array("q", [1, 2, 3, 4, 5, 6]))),
    ]


@pytest.mark.parametrize(("message", "step"), broken_steps(), ids=str)
def test_a_bad_step_is_an_error(message: str, step: Step, program: Any) -> None:
    with pytest.raises(ShapeError, match=message):
        program.run(step)
    assert logits(program, prompt(1, 3, [0])).shape == (3, VOCAB)


def test_cancelling_ends_one_run(program: Any) -> None:
    program.cancel()
    with pytest.raises(Cancelled):
        logits(program, prompt(1, 3, [0]))
    assert logits(program, prompt(1, 3, [0])).shape == (3, VOCAB)


def test_profiling_times_every_instruction(program: Any) -> None:
    program.profile(True)
    logits(program, prompt(1, 64, [0]))
    times = program.times()
    products = [one for one in times if one.op == "linears"]
    weights = [[value.name for value in one.operands if value and value.kind == "weight"] for one in products]
    names = ("q.weight", "q.bias", "k.weight", "v.weight")
    assert [found[:4] for found in weights] == [[f"blk.{i}.attn_{name}" for name in names] for i in range(LAYERS)]
    assert all(one.seconds > 0 for one in times)
    program.profile(False)
    before = program.times()
    logits(program, prompt(1, 64, [0]))
    assert program.times() == before


def test_programs_in_several_threads_share_the_pool() -> None:
    backend = open_backend(threads=2)
    archives = [decoder_archive("Q8_0"), decoder_archive("F32")]
    programs = [open_program(backend, archive) for archive in archives]
    expected = [logits(program, prompt(1, 40, [0])).tobytes() for program in programs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(15):
            if logits(programs[number], prompt(1, 40, [0])).tobytes() != expected[number]:
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    for program in programs:
        program.close()
    backend.close()


def test_a_closed_program_says_so(backend: CpuBackend) -> None:
    program = open_program(backend, decoder_archive("Q8_0"))
    program.close()
    program.close()
    with pytest.raises(NativeError, match="closed"):
        logits(program, prompt(1, 3, [0]))


def test_a_closed_backend_leaves_no_program_open() -> None:
    backend = open_backend(threads=2)
    program = open_program(backend, decoder_archive("Q8_0"))
    backend.close()
    backend.close()
    with pytest.raises(NativeError, match="closed"):
        logits(program, prompt(1, 3, [0]))
    with pytest.raises(NativeError, match="closed"):
        open_program(backend, decoder_archive("Q8_0"))


def test_memory_grows_with_the_tokens_of_a_step(backend: CpuBackend) -> None:
    small, large = (open_program(backend, decoder_archive("Q8_0"), tokens) for tokens in (8, 160))
    assert (small.max_tokens, large.max_tokens, large.result_width) == (8, 160, VOCAB)
    assert small.bytes < large.bytes < 16 << 20
    small.close()
    large.close()


def test_a_result_takes_the_place_of_an_operand_that_nobody_reads_later(backend: CpuBackend) -> None:
    """A chain of sums in one buffer of one value; the first value, read again at the end, keeps its own."""

    def chain(inputs: Inputs, weights: WeightTable) -> Any:
        x = y = ops.embed(inputs.tokens, weights["token_embd"])
        for _ in range(4):
            y = ops.silu(y + y) * weights["output_norm"]
        return ops.linear(x + y, weights["token_embd"])

    archive = decoder_archive("F32")
    plan = trace_model("chain", chain, archive.entries())
    weights, pages = backend.upload(archive, plan.weight_names()), backend.pages(1, LAYOUT)
    compiled = compile_plan(optimise(plan), weights.address, pages, 64)
    assert compiled.plan.arena_bytes - compiled.logits_bytes == 3 * 64 * WIDTH * 4  # x, y + y and what follows it, y
    theirs = reference.open_backend()
    ours = (backend, theirs)
    programs = [one.compile(plan, one.upload(archive, plan.weight_names()), one.pages(1, LAYOUT), 64) for one in ours]
    found, expected = (logits(program, prompt(1, 40, [0]), outputs=list(range(40))) for program in programs)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_a_backend_cannot_do_is_refused(backend: CpuBackend) -> None:
    archive = decoder_archive("Q8_0")
    with pytest.raises(CapacityError, match=r"GB.*free"):
        backend.pages(1 << 30, LAYOUT)
    with pytest.raises(ShapeError, match="pages of 48"):
        backend.pages(1, replace(LAYOUT, page_tokens=48))
    archive.tensors["strange"] = TensorEntry("strange", (4, 256), "IQ9_X", 0, 0, 100)
    with pytest.raises(UnsupportedModel, match="'strange' has type IQ9_X"):
        backend.upload(archive, ("strange",))
    archive.tensors["short"] = TensorEntry("short", (4, 256), "F32", 0, 0, 100)
    with pytest.raises(FormatError, match=r"'short'.*4096"):
        backend.upload(archive, ("short",))
    other = decoder_archive("F32")
    plan = decoder_plan(other)
    with pytest.raises(ShapeError, match="the plan wants"):
        backend.compile(plan, backend.upload(archive, ()), backend.pages(1, LAYOUT), 8)
    narrow = PageLayout(64, (64,) * LAYERS, (64,) * LAYERS)
    with pytest.raises(ShapeError, match="its cache"):
        backend.compile(plan, backend.upload(other, plan.weight_names()), backend.pages(1, narrow), 8)
    with pytest.raises(UsageError, match="sse9"):
        open_backend(isa="sse9")
    with pytest.raises(UsageError, match="-1 threads"):
        open_backend(threads=-1)
    with pytest.raises(UsageError, match="q4"):
        open_backend(activations="q4")


def test_the_environment_chooses_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACOS_ISA", "portable")
    opened = open_backend()
    assert opened.isa == "portable"
    assert opened.threads >= 1
    assert opened.memory() > 0
    opened.close()


def test_places_of_values_alive_together_never_overlap() -> None:
    rng = np.random.default_rng(2)
    lifetimes = []
    for value in range(120):
        first = int(rng.integers(0, 100))
        lifetimes.append(Lifetime(value, int(rng.integers(0, 5000)), first, first + int(rng.integers(0, 9))))
    offsets, total = place(lifetimes)
    for one in lifetimes:
        assert offsets[one.value] % 64 == 0
        assert offsets[one.value] + one.size <= total
        for other in lifetimes:
            if one.value < other.value and one.first <= other.last and other.first <= one.last:
                a, b = offsets[one.value], offsets[other.value]
                assert a + one.size <= b or b + other.size <= a
    alive = max(sum(one.size for one in lifetimes if one.first <= i <= one.last) for i in range(110))
    assert total <= 1.6 * (alive + 64 * 20)
