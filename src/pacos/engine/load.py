"""Open a model for computing: plan, weights, pages within the memory there is, program, engine."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from pacos import quants
from pacos.backends import Backend, Pages, Program
from pacos.backends import backend as open_backend
from pacos.engine.engine import Engine
from pacos.engine.lanes import Lanes
from pacos.engine.snapshot import PromptCache, fingerprint
from pacos.engine.states import SLOTS_OF_A_SEQUENCE
from pacos.errors import CapacityError, UsageError
from pacos.ir.plan import Plan
from pacos.log import logger
from pacos.models import HIDDEN, LOGITS, Hparams, RopeOverrides, build_plan, page_layout
from pacos.settings import LoadOptions
from pacos.types import Archive, PageLayout

_SPARE_PART = 16  # of the memory for pages stays free: activations, logits, the rest of the machine
_LEAST_PART = 4  # weights larger than memory are paged in from the file; pages may still have this part
_AUTOMATIC_CONTEXTS = 16  # when the user names no number: so many, while those beyond the first take little memory
_AUTOMATIC_BYTES = 512 << 20
_CONTEXT_STEP = 256  # a context cut to fit memory is a multiple of this


def load_engine(archive: Archive, options: LoadOptions | None = None, backend: Backend | None = None) -> Engine:
    """Make an engine of a model file. Closing it closes the backend too, unless that was given.

    Errors: UnsupportedModel, FormatError; CapacityError saying what would fit; UsageError.
    """
    options = options or LoadOptions()
    opened = backend or open_backend(options.backend, threads=options.threads, activations=options.activations)
    try:
        return _engine(archive, options, opened, owns=backend is None)
    except BaseException:
        if backend is None:
            opened.close()
        raise


def _engine(archive: Archive, options: LoadOptions, backend: Backend, *, owns: bool) -> Engine:
    hp = Hparams.from_metadata(archive.metadata, archive.tensors, _rope_overrides(options))
    main = LOGITS if hp.causal else HIDDEN
    asked = _asked_context(options, hp)
    hp = replace(hp, context_asked=asked)
    plan = build_plan(archive, hp, main)
    automatic = _automatic_cache_type(plan)
    type_k, type_v = (_cache_type(one, automatic) for one in (options.cache_type_k, options.cache_type_v))
    layout = page_layout(hp, type_k, type_v, plan)
    _check_cache_types(layout, hp)
    free = backend.memory()
    weights = backend.upload(archive, plan.weight_names())
    room = max(free - weights.bytes, free // _LEAST_PART)
    slots = plan_slots(layout, options.parallel, room)
    room -= slots * state_bytes(layout)
    context, count = plan_pages(layout, asked or hp.context_length, options.parallel, room, fixed=bool(asked))
    pages = backend.pages(count, layout, slots)
    step_tokens = options.batch_size if hp.causal else max(options.batch_size, context)  # an encoder cuts no prompt
    step_tokens = min(step_tokens, count * layout.page_tokens)

    def compiled(plan: Plan) -> Program:
        return backend.compile(plan, backend.upload(archive, plan.weight_names()), pages, step_tokens)

    program = compiled(plan)
    lanes = Lanes(main, program, lambda result: compiled(build_plan(archive, hp, result)), whole=not hp.causal)
    return Engine(
        *(program, pages, context),
        lanes=lanes,
        vocab_size=hp.vocab_size,
        causal=hp.causal,
        queue_places=options.queue_size,
        prompt_cache=_prompt_cache(archive, plan, pages, options) if hp.causal else None,
        identity=partial(_identity, archive, plan, pages, options) if hp.causal and not layout.states else None,
        on_close=backend.close if owns else None,
    )


def _prompt_cache(archive: Archive, plan: Plan, pages: Pages, options: LoadOptions) -> PromptCache | None:
    if not options.prompt_cache_dir:
        return None
    if pages.layout.states:
        problem = "this model has recurrent layers, whose states the prompt cache on disk does not hold"
        raise UsageError(problem, hint="drop --prompt-cache-dir; prompts are reused within this process all the same")
    root = _identity(archive, plan, pages, options)
    folder = Path(options.prompt_cache_dir).expanduser()
    return PromptCache(folder, int(options.prompt_cache_size * 1e9), root, pages)


def _identity(archive: Archive, plan: Plan, pages: Pages, options: LoadOptions) -> bytes:
    return fingerprint(archive, plan, pages.layout, pages.format, options.activations, _rope_overrides(options))


def _automatic_cache_type(plan: Plan) -> str:
    """F32 where every matrix is, so that nothing is rounded; F16 otherwise, which costs less than the matrices do."""
    types = {value.dtype for value in plan.values if value.kind == "weight" and len(value.shape) == 2}
    return "F32" if types == {"F32"} else "F16"


def _cache_type(option: str, automatic: str) -> str:
    return automatic if option == "auto" else option.upper()


def _check_cache_types(layout: PageLayout, hp: Hparams) -> None:
    """Blocks of a storage type lie within a head. Errors: UsageError naming option, type, and width."""
    for name, stored, width in (
        ("cache_type_k", layout.type_k, hp.head_width),
        ("cache_type_v", layout.type_v, hp.value_width),
    ):
        block = quants.block_format(stored).block
        if width % block:
            raise UsageError(
                f"{name} is {stored.lower()}, whose blocks hold {block} numbers; heads of this model are {width} wide",
                hint="use f16, bf16 or f32",
            )


def _rope_overrides(options: LoadOptions) -> RopeOverrides:
    return RopeOverrides(
        scaling=options.rope_scaling,
        base=options.rope_freq_base,
        scale=options.rope_scale,
        frequency_scale=options.rope_freq_scale,
        original_context=options.yarn_orig_ctx,
    )


def _asked_context(options: LoadOptions, hp: Hparams) -> int:
    if hp.positions and options.ctx_size > hp.positions:
        raise UsageError(
            f"ctx_size is {options.ctx_size}, the model has learned {hp.positions} positions",
            hint=f"use at most {hp.positions}",
        )
    scaled = options.rope_scaling or options.rope_scale or options.rope_freq_scale
    if options.ctx_size > hp.context_length and not scaled:
        text = "a context of %d tokens is more than the model was trained on (%d)"
        logger(__name__).warning(text, options.ctx_size, hp.context_length)
    return options.ctx_size


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
