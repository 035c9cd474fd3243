"""From an open archive to a plan and the layout of its KV pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pacos.errors import FormatError, ShapeError, UnsupportedModel, UsageError
from pacos.ir.graph import Inputs, Tensor, WeightTable, head_input
from pacos.ir.passes import drop_unused
from pacos.ir.plan import Plan, state_widths, trace_model
from pacos.models.blocks import classify, projected, sequence_mean
from pacos.models.hparams import Hparams
from pacos.models.registry import Model, model_for
from pacos.settings.embed import POOLINGS
from pacos.types import Archive, PageLayout, TensorEntry

PAGE_TOKENS = 64
LOGITS, HIDDEN, RANK = "logits", "hidden", "rank"  # what a plan may result in

_CLS, _MEAN = POOLINGS.index("cls"), POOLINGS.index("mean")
_VECTOR_OPERANDS = {"rms_norm": (1,), "layer_norm": (1, 2), "linear": (2,), "rope_angles": (1,)}


def page_layout(hp: Hparams, type_k: str = "F16", type_v: str = "F16", plan: Plan | None = None) -> PageLayout:
    """The KV pages that a model of this form needs, and the states that its plan carries from step to step.

    Nobody reads an encoder's pages later: one layer's serve them all. Layers that do not attend have none.
    """
    heads = hp.key_heads * hp.loops if hp.causal else (*hp.key_heads[:1], *(0 for _ in hp.key_heads[1:]))
    if plan is not None:
        attended = {node.attribute("cache").layer for node in plan.nodes if node.op == "attention"}
        heads = tuple(count if layer in attended else 0 for layer, count in enumerate(heads))
    return PageLayout(
        PAGE_TOKENS,
        tuple(count * hp.head_width_of(layer % hp.layers) for layer, count in enumerate(heads)),
        tuple(count * hp.value_width_of(layer % hp.layers) for layer, count in enumerate(heads)),
        type_k,
        type_v,
        state_widths(plan) if plan is not None else (),
    )


def build_plan(archive: Archive, hp: Hparams, result: str = LOGITS) -> Plan:
    """Trace the model function of the archive's family over its tensors.

    Hidden states of an encoder-decoder are its encoder's: that plan must have run over a source before the decoder's.
    The result is the logits of the rows wanted; or their hidden states as the output head reads them, normed; or
    what the classifier on hidden states says, one number a label.
    Errors: FormatError naming the tensor that is missing, of the wrong shape or of a type that cannot stand there;
    UsageError for a result that the model does not have.
    """
    entry = model_for(hp.architecture)
    if result == LOGITS and not hp.causal:
        raise UsageError(f"{hp.architecture} is an encoder: it predicts no tokens", hint="use its embeddings")
    encodes = result != LOGITS and entry.encoder is not None
    model = entry.encoder if encodes and entry.encoder is not None else entry.model
    hp = replace(hp, causal=False) if encodes else hp
    try:
        plan = trace_model(entry.name, _MODELS[result](model), _entries(archive.tensors), hp)
    except ShapeError as error:
        raise FormatError(f"a tensor has the wrong shape: {error.message}", hint="the file is damaged") from error
    _check_nodes(plan, hp)
    _check_hidden(archive.tensors, hp)
    if hp.experts is not None and hp.experts.count > 1 and all(node.op != "route" for node in plan.nodes):
        raise UnsupportedModel(f"{hp.architecture}.expert_count is {hp.experts.count}, but no layer has a router")
    if result == LOGITS:
        rows = int(plan.values[plan.result].shape[-1])
        if rows != hp.vocab_size:
            raise FormatError(f"the output has {rows} rows, the embedding {hp.vocab_size}; needed: the same")
        return plan
    return drop_unused(plan)


def plans_of(archive: Archive, hp: Hparams) -> list[Plan]:
    """The plans that together use all weights: of logits, or hidden states; of an encoder-decoder both.

    Errors: as `build_plan`.
    """
    results = [LOGITS] if hp.causal else [HIDDEN]
    results += [HIDDEN] if hp.start_token >= 0 else []
    return [build_plan(archive, hp, result) for result in results]


def _hidden(model: Model) -> Model:
    def hidden(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
        result = model(inputs, weights, hp)
        return projected(head_input(result) if hp.causal else result, weights)  # an encoder has no head of logits

    return hidden


def _rank(model: Model) -> Model:
    def rank(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
        x = _hidden(model)(inputs, weights, hp)
        pooling = hp.keys.integer("classifier.pooling_type", 0, len(POOLINGS) - 1, _CLS)
        if pooling not in (_CLS, _MEAN):
            raise hp.keys.refuse("classifier.pooling_type", f"{_MEAN} (mean) or {_CLS} (cls)")
        return classify(sequence_mean(x, inputs, hp) if pooling == _MEAN else x, weights, hp)

    return rank


_MODELS: Mapping[str, Callable[[Model], Model]] = {LOGITS: lambda model: model, HIDDEN: _hidden, RANK: _rank}


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
            if node.attribute("bidirectional") == hp.causal:
                problem = f"{hp.architecture}.attention.causal is {hp.causal}, which this family does not compute"
                raise UnsupportedModel(problem)
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
        if f"blk.{i}.ffn_norm_exps.weight" in tensors:
            continue  # Arctic's number is that of the experts beside
        entry = tensors.get(f"blk.{i}.ffn_up.weight")
        # The gate may lie in the same matrix; Qwen 1 counts both where they lie apart.
        if entry is not None and hidden not in (entry.shape[0], entry.shape[0] // 2, 2 * entry.shape[0]):
            raise FormatError(f"tensor '{entry.name}' has {entry.shape[0]} rows, the metadata says {hidden}")
