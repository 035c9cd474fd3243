"""What a page depends on beside the tokens: pages in files are bound to it, whatever release wrote them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pacos.engine.page_file import PAGE_FORMAT
from pacos.ir.plan import Plan
from pacos.types import Archive

_SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """Of a model that is open: what it computes, a hash in hexadecimal, and how its pages hold that, in words."""

    model: str
    pages: str

    def digest(self) -> bytes:
        """A hash of both, and of the format of pages in files."""
        return hashlib.sha256(repr((PAGE_FORMAT, self.model, self.pages)).encode()).digest()


def model_hash(archive: Archive, plan: Plan, *more: object) -> str:
    """A hash of what a model computes.

    Of each tensor three places are read, not all of it: models that differ, differ all over.
    """
    metadata = [pair for pair in sorted(archive.metadata.items()) if not pair[0].startswith("tokenizer.")]
    found = hashlib.sha256(repr((plan.text(), metadata, *more)).encode("utf-8", "surrogatepass"))
    for name, entry in sorted(archive.tensors.items()):
        found.update(repr((name, entry.shape, entry.type)).encode())
        data = archive.data(name)
        for start in (0, len(data) // 2, max(0, len(data) - _SAMPLE_BYTES)):
            found.update(data[start : start + _SAMPLE_BYTES])
    return found.hexdigest()
