"""Faults that tests bring about."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

_NOBODY = 65534


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """What may not be written is not, even where the tests run as root."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def damaged(data: bytes, moments: random.Random) -> bytes:
    """The same bytes but for one fault, as disks, copies and programs make them."""
    found, place = bytearray(data), moments.randrange(len(data))
    length = moments.choice((1, 8, 64, 512, len(data)))
    kind = moments.choice(("bits", "cut", "longer", "zeros", "moved", "noise", "count", "number"))
    if kind == "bits":
        for _ in range(moments.choice((1, 1, 1, 8))):
            found[moments.randrange(len(data))] ^= 1 << moments.randrange(8)
    elif kind == "cut":
        del found[place:]
    elif kind == "longer":
        found += moments.randbytes(length)
    elif kind == "zeros":
        found[place : place + length] = bytes(len(found[place : place + length]))
    elif kind == "moved":
        found[place : place + length] = data[moments.randrange(len(data)) :][: len(found[place : place + length])]
    elif kind == "noise":
        found[place : place + length] = moments.randbytes(len(found[place : place + length]))
    elif kind == "count":  # of bytes, items or pages, where it is binary
        width = moments.choice((4, 8))
        found[place : place + width] = moments.choice((b"\xff", b"\x7f", b"\x80")) * width
    else:  # and where it is text
        places = [at for at, byte in enumerate(data[:4096]) if chr(byte).isdigit()] or [place]
        at = moments.choice(places)
        found[at : at + 1] = moments.choice((b"9" * 18, b"-1", b"1e30", b"null", b"[]"))
    return bytes(found)
