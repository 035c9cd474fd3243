"""Where a step's time goes: operations of one kind and one form of weights together, with the work that they did."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pacos.backends import OpTime, Profiled
from pacos.engine.measure import Test, TestBed
from pacos.engine.work import StepForm, Work, op_work
from pacos.errors import UsageError
from pacos.types import PageLayout

_ROLE = re.compile(r"^((enc|dec)\.)?blk\.\d+\.|\.(weight|bias)$")
_MATRIX_OPS = ("linear", "linears", "embed")


@dataclass(frozen=True, slots=True)
class Share:
    """One line of a profile. Units: seconds and work of all calls together."""

    name: str
    calls: int
    seconds: float
    work: Work


@dataclass(frozen=True, slots=True)
class Profile:
    """A test's operations, the slowest first. Units: seconds are those of all steps, from outside."""

    test: Test
    steps: int
    seconds: float
    shares: tuple[Share, ...]

    @property
    def rest_seconds(self) -> float:
        """Time outside all operations: Python, the call, starting the threads."""
        return max(0.0, self.seconds - sum(share.seconds for share in self.shares))


def profile(bed: TestBed, test: Test, layout: PageLayout) -> Profile:
    """Run a test once with its operations timed. Errors: UsageError when the backend cannot time them."""
    program = bed.program_of(test)
    if not isinstance(program, Profiled):
        raise UsageError("this backend cannot time its operations", hint="use --backend cpu")
    bed.prepare(test)
    program.profile(True)
    try:
        seconds = bed.timed(test)
        times = program.times()
    finally:
        program.profile(False)
    forms = list(bed.steps_of(test))
    groups: dict[str, list[OpTime]] = {}
    for one in times:
        groups.setdefault(_name(one), []).append(one)
    shares = [
        Share(name, len(forms) * len(group), sum(one.seconds for one in group), _work(group, forms, layout))
        for name, group in groups.items()
    ]
    return Profile(test, len(forms), seconds, tuple(sorted(shares, key=lambda share: -share.seconds)))


def _name(one: OpTime) -> str:
    """The op and, of a matrix product, its weights: "linears attn_q attn_k Q4_K 2560x2048"."""
    weights = [value for value in one.operands if value is not None and value.kind == "weight"]
    matrices = [value for value in weights if len(value.shape) == 2]
    if one.op not in _MATRIX_OPS or not matrices:
        return one.op
    roles = " ".join(_ROLE.sub("", _ROLE.sub("", value.name)) for value in matrices)
    types = "+".join(dict.fromkeys(value.dtype for value in matrices))
    rows = sum(int(value.shape[0]) for value in matrices)
    return f"{one.op} {roles} {types} {rows}x{matrices[0].shape[1]}"


def _work(group: list[OpTime], forms: list[StepForm], layout: PageLayout) -> Work:
    total = Work()
    for one in group:
        for form in forms:
            total += op_work(one.op, one.operands, one.results, one.attributes, form, layout)
    return total
