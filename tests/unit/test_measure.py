"""What a benchmark's test does, step by step, and what it must compute and read."""

from __future__ import annotations

import pytest
from commands import STORYTELLER

import pacos
from pacos.engine.measure import Test, TestBed
from pacos.engine.work import StepForm, Work, op_work, plan_work
from pacos.errors import CapacityError
from pacos.hub.describe import optimised_plan
from pacos.ir.graph import CacheSlot, Value
from pacos.settings import LoadOptions
from pacos.types import PageLayout

LAYOUT = PageLayout(64, (128, 0), (64, 0))  # one page of layer 0: 64 * (128 + 64) * 2 bytes
FORM = StepForm(tokens=3, depth=10, sequences=2, outputs=2)


def weight(shape: tuple[int, ...], dtype: str) -> Value:
    return Value("weight", "w", shape, dtype)


def rows(first: str | int, *rest: int) -> Value:
    return Value("node", "x", (first, *rest), "f32")


def test_steps_of_a_prompt_are_cut_and_packed_as_the_program_allows() -> None:
    assert list(Test("prompt", 5, depth=2).steps(3)) == [StepForm(3, 2, 1, 0), StepForm(2, 5, 1, 1)]
    assert list(Test("prompt", 4, sequences=5).steps(9)) == [
        StepForm(4, 0, 2, 2),
        StepForm(4, 0, 2, 2),
        StepForm(4, 0, 1, 1),
    ]
    assert list(Test("generate", 2, depth=7, sequences=3).steps(9)) == [StepForm(1, 7, 3, 3), StepForm(1, 8, 3, 3)]


def test_work_of_matrices() -> None:
    def linear(dtype: str, first: str) -> Work:
        return op_work("linear", [rows(first, 64), weight((10, 64), dtype), None], [rows(first, 10)], {}, FORM, LAYOUT)

    assert linear("Q8_0", "T") == Work(int8_operations=2 * 10 * 64 * 6, bytes=10 * 68)
    assert linear("F16", "R") == Work(float_operations=2 * 10 * 64 * 2, bytes=10 * 128)
    embed = op_work("embed", [rows("T"), weight((1000, 64), "Q8_0")], [rows("T", 64)], {}, FORM, LAYOUT)
    assert embed == Work(bytes=6 * 68)
    norm = op_work("rms_norm", [rows("T", 64), weight((64,), "F32")], [rows("T", 64)], {"eps": 1}, FORM, LAYOUT)
    assert norm == Work(bytes=256)


def test_work_of_experts_is_that_of_those_chosen() -> None:
    def experts(count: int) -> Work:
        operands = [rows("T", 64), rows("T", 2), weight((count, 10, 64), "Q8_0"), weight((count, 10), "F32")]
        return op_work("expert_linear", operands, [rows("T", 2, 10)], {}, FORM, LAYOUT)

    slots = 6 * 2
    for count, read in ((128, slots), (4, 4)):
        assert experts(count) == Work(int8_operations=2 * 10 * 64 * slots, bytes=read * (10 * 68 + 40))


@pytest.mark.parametrize(("window", "positions", "pairs"), [(0, 13, 11 + 12 + 13), (5, 7, 15)])
def test_work_of_attention(window: int, positions: int, pairs: int) -> None:
    operands = [rows("T", 8, 16), rows("T", 2, 64), rows("T", 2, 32)]
    attributes = {"cache": CacheSlot(0), "window": window}
    found = op_work("attention", operands, [rows("T", 256)], attributes, FORM, LAYOUT)
    assert found == Work(attention_operations=4 * 128 * pairs * 2, bytes=positions * 2 * 192 * 2)


def test_a_token_reads_every_weight_once() -> None:
    with pacos.load(STORYTELLER, vocab_only=True) as llm:
        plan = optimised_plan(llm.archive)
        weights = sum(entry.nbytes for entry in llm.archive.tensors.values())
    found = plan_work(plan, StepForm(1, 0, 1, 1), PageLayout(64, (0,) * 4, (0,) * 4))
    embedding_row = 256 // 32 * 34
    assert found.bytes == weights + embedding_row
    assert found.float_operations == 0


def test_caches_of_several_sequences_are_filled_alike() -> None:
    with pacos.load(STORYTELLER, options=LoadOptions(threads=1, ctx_size=700, parallel=3)) as llm:
        bed = TestBed(llm.engine.program, llm.engine.pages)
        for test in (
            Test("generate", 2, 600, 2),
            Test("prompt", 3, 600, 2),
            Test("generate", 1, 40, 2),
            Test("prompt", 700),
        ):
            assert bed.seconds(test) > 0
        with pytest.raises(CapacityError, match="there are"):
            bed.seconds(Test("generate", 1, 700, 4))
