"""Slots: names for the texts that were answered last, so that they can be asked for, saved, restored and erased.

They hold no memory of their own: what was computed belongs to prompts, and any prompt finds it, whatever its slot.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pacos.server.call import Answer, Call
from pacos.server.problem import RequestError

if TYPE_CHECKING:
    from pacos.server.residency import Resident


_NUMBERS = 1 << 31


@dataclass(slots=True, eq=False)
class Slot:
    """The latest text of one slot, how it was asked for, and the answers that run in it now."""

    id: int
    tokens: array[int] = field(default_factory=lambda: array("i"))
    salt: str = ""
    owner: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    running: list[Answer] = field(default_factory=list)
    task: int = -1
    used: int = 0  # when, in tasks
    prompt: bytes = b""

    def fits(self, prompt: bytes, salt: str) -> int:
        """How well a prompt goes on from the one before: the length of that one, or 0."""
        return len(self.prompt) if salt == self.salt and prompt.startswith(self.prompt) else 0


class Slots:
    """The slots of one open model; on the event loop alone."""

    def __init__(self, count: int) -> None:
        self.all = [Slot(number) for number in range(count)]
        self._tasks = 0

    @classmethod
    def of(cls, resident: Resident) -> Slots:
        """The slots of an open model."""
        if resident not in _SLOTS:
            _SLOTS[resident] = cls(max(1, resident.spec.options.parallel))
        return _SLOTS[resident]

    def begin(
        self, wanted: int, answer: Answer, options: Mapping[str, Any], owner: str
    ) -> tuple[Slot, Callable[[], None]]:
        """The slot of an answer that starts, and what to call at its end.

        Below 0 the one is `wanted` whose text the prompt goes on with furthest, of those without an answer; numbers
        that are too large begin anew.
        """
        salt = str(options.get("cache_salt") or "")
        prompt = array("i", answer.prompt_token_ids)
        slot = self.all[wanted % len(self.all)] if wanted >= 0 else self._fitting(prompt.tobytes(), salt)
        self._tasks += 1
        slot.task = slot.used = self._tasks
        slot.options, slot.salt, slot.owner, slot.tokens = options, salt, owner, prompt
        slot.prompt = prompt.tobytes()
        slot.running.append(answer)

        def end() -> None:
            slot.running.remove(answer)
            self._tasks += 1
            slot.used = self._tasks
            slot.salt, slot.owner, slot.tokens = salt, owner, answer.token_ids

        return slot, end

    def _fitting(self, text: bytes, salt: str) -> Slot:
        idle = [slot for slot in self.all if not slot.running] or self.all
        return max(idle, key=lambda slot: (slot.fits(text, salt), -slot.used))

    def shared_tokens(self, slot: Slot) -> int:
        """How much of a slot's text others begin with."""
        others = [one.tokens for one in self.all if one is not slot and one.salt == slot.salt]
        return max((_agreeing(slot.tokens, one) for one in others), default=0)


_SLOTS: WeakKeyDictionary[Resident, Slots] = WeakKeyDictionary()


def _agreeing(one: array[int], other: array[int]) -> int:
    """How many tokens two texts begin with alike."""
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def begin(call: Call[Any], resident: Resident, answer: Answer, options: Mapping[str, Any]) -> int:
    """Note an answer that starts, until its request ends; gives the number of its slot."""
    wanted = getattr(call.body, "id_slot", None)
    if wanted is not None and not -1 <= wanted < _NUMBERS:
        hint = "use a slot's number, or -1 for any"
        raise RequestError(f"id_slot is {wanted}", field="id_slot", code="invalid_value", hint=hint)
    slot, end = Slots.of(resident).begin(-1 if wanted is None else wanted, answer, options, call.owner)
    call.cleanup.callback(end)
    return slot.id
