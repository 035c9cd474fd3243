"""Pages in files: their bytes go from the file to where they belong and are checked there, by a few threads."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable, Sequence
from ctypes import c_uint64, c_void_p
from typing import BinaryIO

from pacos.native import address_of, function

# Of what pages in files hold: another number when keys and values change their meaning. How a backend arranges them has
# a number of its own, `Pages.format`. tests/unit/test_kept.py tells when they must change.
PAGE_FORMAT = 1
CHECKSUM_BYTES = 8

_PARTS_AT_ONCE = 512  # systems take 1024 a call
_THREADS_MAX = 4  # more wait for memory alone


def checksum(parts: Sequence[bytes | memoryview], seed: bytes = b"") -> bytes:
    """The sum of some bytes, which go on from those whose sum is the seed."""
    sum_of = function("pacos_checksum", c_uint64, [c_void_p, c_void_p, c_uint64, c_uint64])
    starts, sizes = array("Q", map(address_of, parts)), array("Q", map(len, parts))
    begin = int.from_bytes(seed, "little")
    found: int = sum_of(starts.buffer_info()[0], sizes.buffer_info()[0], len(sizes), begin)
    return found.to_bytes(CHECKSUM_BYTES, "little")


class PageReader:
    """Reads an unbuffered file, from any threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def read(self, parts: Sequence[memoryview], offset: int) -> bool:
        """Fill memory with what lies at an offset; false where the file ends before. Errors: OSError."""
        if not hasattr(os, "preadv"):
            with self._lock:
                self._stream.seek(offset)
                return all(self._filled(part) for part in parts)
        left = list(parts)
        while left:
            count = os.preadv(self._stream.fileno(), left[:_PARTS_AT_ONCE], offset)
            if not count:
                return False
            offset += count
            while left and count >= len(left[0]):
                count -= len(left.pop(0))
            if count:
                left[0] = left[0][count:]
        return True

    def _filled(self, part: memoryview) -> bool:
        done = 0
        while done < len(part):
            count = self._stream.readinto(part[done:])  # type: ignore[attr-defined]
            if not count:
                return False
            done += count
        return True


def first_failing(work: Callable[[int], bool], count: int) -> int:
    """Do pieces of work 0, 1, ... on a few threads, none after one that fails; gives the first of these, or the count.

    Errors: what a piece raised.
    """
    places = iter(range(count))
    failed: list[int] = []
    errors: list[BaseException] = []

    def some() -> None:
        try:
            while not failed and not errors and (place := next(places, count)) < count:
                if not work(place):
                    failed.append(place)
        except BaseException as error:  # noqa: BLE001 - raised where the work was asked for
            errors.append(error)

    threads = min(_THREADS_MAX, os.cpu_count() or 1, count)
    beside = [threading.Thread(target=some, name="pacos-pages", daemon=True) for _ in range(threads - 1)]
    for thread in beside:
        thread.start()
    some()
    for thread in beside:
        thread.join()
    if errors:
        raise errors[0]
    return min(failed, default=count)
