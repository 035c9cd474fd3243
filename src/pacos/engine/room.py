"""What fits the memory there is: weights, states, pages."""

from __future__ import annotations

import math

from pacos import quants
from pacos.engine.states import SLOTS_OF_A_SEQUENCE
from pacos.errors import CapacityError
from pacos.log import logger
from pacos.types import Archive, PageLayout

_SPARE_PART = 16  # of the memory for pages stays free: activations, logits, the rest of the machine
_AUTOMATIC_CONTEXTS = 16  # when the user names no number: so many, while those beyond the first take little memory
_AUTOMATIC_BYTES = 512 << 20
_CONTEXT_STEP = 256  # a context cut to fit memory is a multiple of this
_SMALLER = ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ1_S")  # what files are made of, the best first


def warn_of_weights(archive: Archive, weight_bytes: int, free: int) -> None:
    """Say that weights do not fit the memory, and which type would. Units: bytes."""
    if weight_bytes <= free:
        return
    numbers = sum(math.prod(entry.shape) for entry in archive.tensors.values())
    sizes = {name: quants.row_bytes(name, numbers - numbers % 256) for name in _SMALLER}
    fitting = next(((name, size) for name, size in sizes.items() if size < min(free, weight_bytes)), None)
    advice = f"all in {fitting[0]}, they would take {fitting[1] / 1e9:.2f} GB" if fitting else "use a smaller model"
    text = "weights of %.2f GB do not fit the %.2f GB of free memory, the disk is read again and again; %s"
    logger(__name__).warning(text, weight_bytes / 1e9, free / 1e9, advice)


def page_bytes(layout: PageLayout) -> int:
    """Bytes of one page, all layers together."""
    keys = sum(quants.row_bytes(layout.type_k, width) for width in layout.key_width)
    values = sum(quants.row_bytes(layout.type_v, width) for width in layout.value_width)
    return layout.page_tokens * (keys + values)


def state_bytes(layout: PageLayout) -> int:
    """Bytes of one state of a recurrent model, all layers together; 0 for a model that has none."""
    return 4 * sum(layout.states)


def plan_slots(layout: PageLayout, parallel: int, room: int) -> int:
    """Slots for the states of `parallel` sequences, and as many again for checkpoints; within half of the room.

    0 sequences means some. Errors: CapacityError when not even one sequence's states fit.
    """
    one_bytes = state_bytes(layout)
    if not one_bytes:
        return 0
    each = 2 * SLOTS_OF_A_SEQUENCE
    fitting = room // 2 // one_bytes
    if fitting < SLOTS_OF_A_SEQUENCE + 1:
        problem = f"states of {one_bytes / 1e6:.1f} MB a sequence do not fit, {room / 1e6:.1f} MB are free"
        raise CapacityError(problem, hint="close other programs or use a smaller model")
    if parallel == 0:
        return min(fitting, each * _AUTOMATIC_CONTEXTS, each + _AUTOMATIC_BYTES // one_bytes)
    if each * parallel > fitting:
        logger(__name__).warning("there is room for the states of %d sequences, not %d", fitting // each, parallel)
    return min(fitting, each * parallel)


def plan_pages(layout: PageLayout, context: int, parallel: int, room: int, *, fixed: bool) -> tuple[int, int]:
    """The context in tokens and the number of pages that fit `room` bytes.

    A `fixed` context must fit; else it is cut to what does. There are pages for `parallel` contexts, as far as they
    fit; 0 means some. Errors: CapacityError with the bytes needed, those free, and the context that would fit.
    """
    size, one_bytes = layout.page_tokens, max(1, page_bytes(layout))
    fitting = (room - room // _SPARE_PART) // one_bytes
    needed = -(-context // size) + 1  # one to copy into
    if needed > fitting:
        possible = max(0, fitting - 1) * size // _CONTEXT_STEP * _CONTEXT_STEP
        if fixed or possible == 0:
            raise CapacityError(
                f"a context of {context} tokens needs {needed * one_bytes / 1e9:.2f} GB for its cache, "
                f"{room / 1e9:.2f} GB are free",
                hint=f"--ctx-size {possible} would fit" if possible else "close other programs or use a smaller model",
            )
        logger(__name__).warning("the context is cut from %d to %d tokens: memory has no more room", context, possible)
        context = possible
        needed = context // size + 1
    if parallel == 0:
        return context, min(fitting, needed * _AUTOMATIC_CONTEXTS, needed + _AUTOMATIC_BYTES // one_bytes)
    if needed * parallel > fitting:
        logger(__name__).warning("the cache has room for %d contexts, not %d", fitting // needed, parallel)
    return context, min(fitting, needed * parallel)
