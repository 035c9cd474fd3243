"""What files hold, in digests: SHA-256, and git's name for a content, which hubs give to small files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

_CHUNK_BYTES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


def hasher_for(digest: str, size: int) -> hashlib._Hash:
    """What computes a digest of that form, over a file of that size. Errors: ValueError for an unknown form."""
    if SHA256.fullmatch(digest):
        return hashlib.sha256()
    if GIT_SHA1.fullmatch(digest):
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    raise ValueError(digest)


def file_digest(path: Path, like: str = "0" * 64, seen: Callable[[int], None] = lambda count: None) -> str:
    """The digest of a file in the form of another one; `seen` hears how many bytes more were read."""
    with path.open("rb") as file:
        made = hasher_for(like, os.fstat(file.fileno()).st_size)
        while piece := file.read(_CHUNK_BYTES):
            made.update(piece)
            seen(len(piece))
    return made.hexdigest()
