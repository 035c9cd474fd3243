"""The KV cache in main memory: one anonymous mapping, which costs nothing until pages are written."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable
from itertools import accumulate

from pacos import native, quants
from pacos.backends.cpu.resources import free_memory
from pacos.errors import CapacityError, ShapeError, UnsupportedModel
from pacos.types import PageLayout

_CHUNK_TOKENS = 256  # kChunkKeys of row_kernels.hpp: a softmax piece is a whole number of pages
_SLACK_BYTES = 4096  # a load of sixteen may run past the last value


@functools.cache
def storage_types() -> tuple[str, ...]:
    """Names of the formats in which pages can hold keys and values."""
    stores = native.function("pacos_cpu_stores_type", ctypes.c_int32, [ctypes.c_int32])
    return tuple(fmt.name for fmt in quants.block_formats() if stores(fmt.type_id))


class CpuPages:
    """Pages of keys and values, layer by layer; row_kernels.hpp says how one is laid out.

    Errors: CapacityError with the bytes needed and free, UnsupportedModel for a storage type, ShapeError for a size,
    also for one that is not a whole number of a type's blocks.
    """

    format = "cpu 1"  # another number when stored.hpp arranges pages otherwise

    def __init__(self, count: int, layout: PageLayout, slots: int = 0) -> None:
        for stored in (layout.type_k, layout.type_v):
            if stored not in storage_types():
                known = ", ".join(storage_types())
                raise UnsupportedModel(f"a KV cache of type {stored} is not supported", hint=f"use one of {known}")
        tokens = layout.page_tokens
        if tokens < 16 or tokens % 16 or _CHUNK_TOKENS % tokens:
            raise ShapeError(f"pages of {tokens} tokens: 16, 32, 64, 128 or 256 are possible")
        if not 1 <= count < 1 << 31:
            raise ShapeError(f"{count} pages: at least one is needed")
        if not 0 <= slots < 1 << 31:
            raise ShapeError(f"{slots} slots for states: 0 or more are possible")
        self.count = count
        self.slots = slots
        self.layout = layout
        self.key_page_bytes = [tokens * quants.row_bytes(layout.type_k, width) for width in layout.key_width]
        self.value_page_bytes = [tokens * quants.row_bytes(layout.type_v, width) for width in layout.value_width]
        sizes = [size * count for pair in zip(self.key_page_bytes, self.value_page_bytes, strict=True) for size in pair]
        self.page_bytes = sum(sizes) // count
        *self.state_places, self.slot_floats = accumulate((-(-width // 16) * 16 for width in layout.states), initial=0)
        self.bytes = sum(sizes) + 4 * self.slot_floats * slots
        free = free_memory()
        if self.bytes > free:
            raise CapacityError(
                f"a cache of {count * tokens} tokens needs {self.bytes / 1e9:.2f} GB, {free / 1e9:.2f} GB are free",
                hint="use a smaller context (--ctx-size) or a smaller type (--cache-type-k, --cache-type-v)",
            )
        self._memory = _anonymous(self.bytes + 2 * _SLACK_BYTES)
        self._bytes = memoryview(self._memory)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        starts = [0, *accumulate(sizes)]
        self.keys = [self.address + start for start in starts[0:-1:2]]
        self.values = [self.address + start for start in starts[1::2]]
        self.states = -(-(self.address + starts[-1] + _SLACK_BYTES) // 64) * 64

    def read(self, page: int) -> bytes:
        """The content of a page. Errors: ShapeError for a page that is not there."""
        return b"".join(self._views(page))

    def fill(self, page: int, read: Callable[[list[memoryview]], bool]) -> bool:
        """Have `read` put what `self.read` gave where the page lies. Errors: ShapeError for no such page."""
        return read(self._views(page))

    def _views(self, page: int) -> list[memoryview]:
        places = ((start - self.address, size) for start, size in self._pieces(page))
        return [self._bytes[place : place + size] for place, size in places]

    def _pieces(self, page: int) -> list[tuple[int, int]]:
        """Where the parts of a page lie, and their bytes."""
        if not 0 <= page < self.count:
            raise ShapeError(f"page {page} is not one of {self.count}")
        sizes = self.key_page_bytes + self.value_page_bytes
        places = zip(self.keys + self.values, sizes, strict=True)
        return [(start + page * size, size) for start, size in places if size]

    def copy(self, source: int, target: int) -> None:
        """Copy a whole page. Errors: ShapeError for a page that is not there."""
        for (start, size), (end, _) in zip(self._pieces(source), self._pieces(target), strict=True):
            ctypes.memmove(end, start, size)


def _anonymous(size: int) -> mmap.mmap:
    try:
        if hasattr(mmap, "MAP_PRIVATE"):
            return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return mmap.mmap(-1, size)
    except (OSError, OverflowError, ValueError) as error:
        raise CapacityError(
            f"no address space for {size / 1e9:.2f} GB of pages", hint="use a smaller context"
        ) from error
