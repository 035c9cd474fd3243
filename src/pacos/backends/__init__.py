"""The two protocols between the engine and whatever computes: Backend and Program.

A backend is found by the name of its module or folder here: `backend("cpu")`, `backend("reference")`.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import pkgutil
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pacos.errors import UsageError
from pacos.ir.graph import Value
from pacos.ir.plan import Plan
from pacos.types import Archive, PageLayout, Step

# Ops that multiply by matrices, and which operand is the first of these; each has a bias behind it.
FIRST_MATRIX = {"linear": 1, "linears": 1, "expert_linear": 2, "expert_linears": 2}


class Weights(Protocol):
    """Tensors of one model where the backend can read them."""

    bytes: int


class Pages(Protocol):
    """The KV cache: `count` pages of one layout; and `slots` for states, which recurrent layers have instead."""

    count: int
    slots: int
    layout: PageLayout
    bytes: int
    page_bytes: int
    format: str  # how the bytes of a page are arranged

    def copy(self, source: int, target: int) -> None:
        """Copy a whole page."""

    def read(self, page: int) -> builtins.bytes:
        """The content of a page, `page_bytes` bytes."""

    def fill(self, page: int, read: Callable[[list[memoryview]], bool]) -> bool:
        """Have `read` put what `self.read` gave, here or in another process, into memory; gives what it gives.

        The memory may come in parts, and is the page's own once this returns. From any thread, while no step has the
        page.
        """


@dataclass(frozen=True, slots=True)
class OpTime:
    """What one operation of a program took since its profile was switched on. Units: seconds."""

    op: str
    operands: tuple[Value | None, ...]
    results: tuple[Value, ...]
    attributes: Mapping[str, Any]
    seconds: float


@runtime_checkable
class Profiled(Protocol):
    """A program that can time its operations; not every backend's can."""

    def profile(self, on: bool) -> None:
        """Start timing every operation from zero, or stop."""

    def times(self) -> list[OpTime]:
        """Each operation in order of computing."""


@dataclass(frozen=True, slots=True)
class InputSquares:
    """What the matrices of some tensors, which share their input, were multiplied with.

    Shapes: sums [M * K] are the squares of the M matrices' inputs added up, column by column; rows [M] that each has
    multiplied. `routed` says that rows chose their matrices; else each row went through all of them.
    """

    tensors: tuple[str, ...]
    sums: array[float]
    rows: array[int]
    routed: bool


@runtime_checkable
class Observed(Protocol):
    """A program that can add up the squares of what its matrices are multiplied with; not every backend's can."""

    def observe(self, on: bool) -> None:
        """Start adding up from zero, or stop. Errors: CapacityError when memory is short."""

    def squares(self) -> list[InputSquares]:
        """The sums since observe(True), of each operation that multiplies by matrices."""


class Program(Protocol):
    """A compiled plan."""

    bytes: int  # memory for activations
    result_width: int  # floats of one row of the result
    max_tokens: int

    def run(self, step: Step) -> memoryview[float]:
        """One forward pass in one native call; the result's rows, f32 [R * result_width], valid until the next run.

        Errors: ShapeError when the step has more than max_tokens tokens or refers to pages that are not there;
        Cancelled after cancel(), when pages hold anything in the places of the step's tokens.
        """

    def cancel(self) -> None:
        """End the run that is going on, or the next one, early; from any thread."""

    def close(self) -> None:
        """Free the program's memory."""


class Backend(Protocol):
    """A device that computes."""

    name: str

    def memory(self) -> int:
        """Bytes free for weights, pages and programs."""

    def upload(self, archive: Archive, names: tuple[str, ...]) -> Weights:
        """Make tensors readable; on a CPU nothing moves. Errors: UnsupportedModel naming type and tensor."""

    def pages(self, count: int, layout: PageLayout, slots: int = 0) -> Pages:
        """Allocate pages, and slots for the layout's states. Errors: CapacityError with the bytes needed and free."""

    def compile(self, plan: Plan, weights: Weights, pages: Pages, max_tokens: int) -> Program:
        """Make a program for steps of up to max_tokens tokens."""

    def close(self) -> None:
        """Stop threads and free everything."""


def names() -> list[str]:
    """Backends that this installation has, by name."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def backend(name: str, **options: Any) -> Backend:
    """Open a backend by name.

    Errors: UsageError listing the names when there is none of that name.
    """
    if name not in names():
        raise UsageError(f"no backend named {name!r}", hint=f"there are: {', '.join(names())}")
    opened: Backend = importlib.import_module(f"{__name__}.{name}").open_backend(**options)
    return opened
