"""Open a model for computing: plan, weights, pages within the memory there is, program, engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pacos import quants
from pacos.backends import Backend, Pages, Program
from pacos.backends import backend as open_backend
from pacos.engine.adapter_scales import AdapterScales
from pacos.engine.engine import Engine
from pacos.engine.identity import Identity, model_hash
from pacos.engine.lanes import Lanes
from pacos.engine.room import plan_pages, plan_slots, state_bytes, warn_of_weights
from pacos.engine.snapshot import PromptCache
from pacos.errors import UsageError
from pacos.ir.plan import Plan
from pacos.log import logger
from pacos.models import HIDDEN, LOGITS, Hparams, RopeOverrides, build_plan, page_layout, plans_of
from pacos.models.adapters import AdaptedArchive, Adapter, adapted, check_fits
from pacos.settings import LoadOptions
from pacos.types import Archive, PageLayout

_LEAST_PART = 4  # weights larger than memory are paged in from the file; pages may still have this part


def load_engine(
    archive: Archive,
    options: LoadOptions | None = None,
    backend: Backend | None = None,
    adapters: Sequence[Adapter] = (),
) -> Engine:
    """Make an engine of a model file and its adapters. Closing it closes the backend too, unless that was given.

    Errors: UnsupportedModel, FormatError; CapacityError saying what would fit; UsageError.
    """
    options = options or LoadOptions()
    opened = backend or open_backend(options.backend, threads=options.threads, activations=options.activations)
    try:
        return _engine(archive, options, opened, adapters, owns=backend is None)
    except BaseException:
        if backend is None:
            opened.close()
        raise


def _engine(
    base: Archive, options: LoadOptions, backend: Backend, adapters: Sequence[Adapter], *, owns: bool
) -> Engine:
    hp = Hparams.from_metadata(base.metadata, base.tensors, _rope_overrides(options))
    main = LOGITS if hp.causal else HIDDEN
    asked = _asked_context(options, hp)
    hp = replace(hp, context_asked=asked)

    def planned(result: str) -> Plan:
        return adapted(build_plan(base, hp, result), adapters, base.tensors)

    check_fits(adapters, plans_of(base, hp) if adapters else (), base.tensors)
    archive: Archive = AdaptedArchive(base, adapters) if adapters else base
    plan = planned(main)
    automatic = _automatic_cache_type(plan)
    type_k, type_v = (_cache_type(one, automatic) for one in (options.cache_type_k, options.cache_type_v))
    layout = page_layout(hp, type_k, type_v, plan)
    _check_cache_types(layout, hp)
    free = backend.memory()
    weights = backend.upload(archive, plan.weight_names())
    warn_of_weights(archive, weights.bytes, free)
    room = max(free - weights.bytes, free // _LEAST_PART)
    slots = plan_slots(layout, options.parallel, room)
    room -= slots * state_bytes(layout)
    context, count = plan_pages(layout, asked or hp.context_length, options.parallel, room, fixed=bool(asked))
    pages = backend.pages(count, layout, slots)
    encodes = not hp.causal or hp.start_token >= 0
    step_tokens = max(options.batch_size, context) if encodes else options.batch_size  # an encoder cuts no prompt
    step_tokens = min(step_tokens, count * layout.page_tokens)

    def compiled(plan: Plan) -> Program:
        return backend.compile(plan, backend.upload(archive, plan.weight_names()), pages, step_tokens)

    program = compiled(plan)
    lanes = Lanes(main, program, lambda result: compiled(planned(result)), whole=encodes)
    plans = [plan]
    if hp.start_token >= 0:
        lanes.prepare(HIDDEN)
        plans.append(planned(HIDDEN))
    identity = partial(_identity, archive, plans, pages, options) if hp.causal else None
    return Engine(
        *(program, pages, context),
        lanes=lanes,
        vocab_size=hp.vocab_size,
        causal=hp.causal,
        start_token=hp.start_token,
        queue_places=options.queue_size,
        prompt_cache=_prompt_cache(identity, pages, options) if identity is not None else None,
        identity=identity,
        adapters=AdapterScales([one.scale for one in adapters]),
        on_close=backend.close if owns else None,
    )


def _prompt_cache(identity: Callable[[], Identity], pages: Pages, options: LoadOptions) -> PromptCache | None:
    if not options.prompt_cache_dir:
        return None
    if pages.layout.states:
        problem = "this model has recurrent layers, whose states the prompt cache on disk does not hold"
        raise UsageError(problem, hint="drop --prompt-cache-dir; prompts are reused within this process all the same")
    folder = Path(options.prompt_cache_dir).expanduser()
    return PromptCache(folder, int(options.prompt_cache_size * 1e9), identity().digest(), pages)


def _identity(archive: Archive, plans: Sequence[Plan], pages: Pages, options: LoadOptions) -> Identity:
    layout = pages.layout
    widths = (layout.key_width, layout.value_width, layout.states)
    types = f"{layout.type_k.lower()} keys, {layout.type_v.lower()} values"
    words = f"{types}, {layout.page_tokens} tokens each, {pages.format}, {options.activations}"
    more = (widths, _rope_overrides(options), *(one.text() for one in plans[1:]))
    return Identity(model_hash(archive, plans[0], *more), words)


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
    if hp.picked and options.ctx_size > hp.picked:
        problem = f"ctx_size is {options.ctx_size}; beyond {hp.picked} an indexer picks keys, which is not computed"
        raise UsageError(problem, hint=f"use at most {hp.picked}")
    scaled = options.rope_scaling or options.rope_scale or options.rope_freq_scale
    if options.ctx_size > hp.context_length and not scaled:
        text = "a context of %d tokens is more than the model was trained on (%d)"
        logger(__name__).warning(text, options.ctx_size, hp.context_length)
    return options.ctx_size
