"""From an open archive to a plan and the layout of its KV pages."""

from __future__ import annotations

from collections.abc import Mapping

from pacos.errors import FormatError, ShapeError
from pacos.ir.plan import Plan, trace_model
from pacos.models.hparams import Hparams
from pacos.models.registry import model_for
from pacos.types import Archive, PageLayout, TensorEntry

PAGE_TOKENS = 64

_VECTOR_OPERANDS = {"rms_norm": (1,), "layer_norm": (1, 2), "linear": (2,), "rope_angles": (1,)}


def page_layout(hp: Hparams, type_k: str = "F16", type_v: str = "F16") -> PageLayout:
    """The KV pages that a model of this form needs."""
    return PageLayout(
        PAGE_TOKENS,
        tuple(heads * hp.head_width for heads in hp.key_heads),
        tuple(heads * hp.value_width for heads in hp.key_heads),
        type_k,
        type_v,
    )


def build_plan(archive: Archive, hp: Hparams) -> Plan:
    """Trace the model function of the archive's family over its tensors.

    Errors: FormatError naming the tensor that is missing, of the wrong shape or of a type that cannot stand there.
    """
    entry = model_for(hp.architecture)
    try:
        plan = trace_model(entry.name, entry.model, _entries(archive.tensors), hp)
    except ShapeError as error:
        raise FormatError(f"a tensor has the wrong shape: {error.message}", hint="the file is damaged") from error
    _check_nodes(plan, hp)
    _check_hidden(archive.tensors, hp)
    rows = int(plan.values[plan.result].shape[-1])
    if rows != hp.vocab_size:
        raise FormatError(f"the output has {rows} rows, the embedding {hp.vocab_size}; needed: the same")
    return plan


def _entries(tensors: Mapping[str, TensorEntry]) -> dict[str, tuple[tuple[int | str, ...], str]]:
    return {name: (entry.shape, entry.type) for name, entry in tensors.items()}


def _check_nodes(plan: Plan, hp: Hparams) -> None:
    layout = page_layout(hp)
    for node in plan.nodes:
        weights = [plan.values[number] for number in node.inputs if number is not None]
        for value in (value for value in weights if value.kind == "weight"):
            if 0 in value.shape:
                raise FormatError(f"tensor '{value.name}' is empty: {value.shape}", hint="the file is damaged")
        for place in _VECTOR_OPERANDS.get(node.op, ()):
            number = node.inputs[place]
            if number is not None and plan.values[number].kind == "weight" and plan.values[number].dtype != "F32":
                vector = plan.values[number]
                raise FormatError(f"tensor '{vector.name}' is of type {vector.dtype}, needed: F32")
        if node.op == "attention":
            layer = node.attribute("cache").layer
            _check_cache(plan, node.inputs[1], layout.key_width[layer], f"layer {layer}: the keys")
            _check_cache(plan, node.inputs[2], layout.value_width[layer], f"layer {layer}: the values")


def _check_cache(plan: Plan, number: int | None, width: int, what: str) -> None:
    shape = plan.values[number or 0].shape  # [T, K, E]
    found = int(shape[1]) * int(shape[2])
    if found != width:
        raise FormatError(f"{what} are {found} wide, the metadata says {width}")


def _check_hidden(tensors: Mapping[str, TensorEntry], hp: Hparams) -> None:
    for i, hidden in enumerate(hp.hidden):
        entry = tensors.get(f"blk.{i}.ffn_up.weight")
        if entry is not None and entry.shape[0] != hidden:
            raise FormatError(f"tensor '{entry.name}' has {entry.shape[0]} rows, the metadata says {hidden}")
