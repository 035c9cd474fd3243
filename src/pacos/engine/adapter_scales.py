"""How strongly the adapters of an engine act on sequences; prompts computed under other scales never meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pacos.engine.sequence import SequenceRequest
from pacos.errors import UsageError

_SALT = "\0adapters "


class AdapterScales:
    """The scales of sequences that ask for none, one for each adapter; from any thread."""

    def __init__(self, scales: Sequence[float] = ()) -> None:
        self._now = tuple(scales)

    @property
    def now(self) -> tuple[float, ...]:
        """The scales of sequences that start now and ask for none."""
        return self._now

    def set(self, scales: Sequence[float]) -> None:
        """Change the scales of sequences to come. Errors: UsageError unless there is one for each adapter."""
        self._now = self.checked(scales)

    def checked(self, scales: Sequence[float]) -> tuple[float, ...]:
        """The scales that a sequence asks for, or those of all. Errors: UsageError for another number of them."""
        if scales and len(scales) != len(self._now):
            hint = "give one for each, in order" if self._now else "open the model with lora=..."
            raise UsageError(f"there are {len(scales)} scales for {len(self._now)} adapters", hint=hint)
        return tuple(scales) or self._now

    def acting_on(self, request: SequenceRequest, **more: Any) -> dict[str, Any]:
        """The scales and the salt of a sequence, beside what else is given.

        Errors: UsageError for another number of scales than of adapters.
        """
        scales = self.checked(request.generate.lora_scales)
        return {"scales": scales, "salt": self.salted(request.queue.cache_salt, scales), **more}

    def salted(self, salt: str, scales: Sequence[float] | None = None) -> str:
        """What keeps texts apart that were computed under other scales, the present ones by default."""
        found = self._now if scales is None else scales
        return salt + _SALT + " ".join(float(one).hex() for one in found) if any(found) else salt
