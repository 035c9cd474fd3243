"""Numbers of the engines behind the open models, looked up when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from pacos.server.metrics import Counter, Gauge, Labels, Metric
from pacos.server.residency import Residency

_COUNTED = {
    "steps": "Steps of the engine.",
    "sequences": "Sequences taken.",
    "tokens_computed": "Tokens that went through the model.",
    "tokens_generated": "Tokens chosen.",
    "tokens_reused": "Tokens of prompts that the cache had.",
    "prompts_reused": "Prompts that the cache had a part of.",
    "preemptions": "Sequences that had to give way.",
    "shifts": "Times that a context dropped older text.",
}


def engine_metrics(residency: Residency) -> Iterator[Metric]:
    """What each open model's engine does now, and has done since it was opened."""
    found = {name: resident.llm.engine.statistics() for name, resident in list(residency.open.items())}
    yield _filled(
        Gauge("sequences_running", "Sequences being computed: the batch.", ("model",)),
        {(name,): one.running for name, one in found.items()},
    )
    yield _filled(
        Gauge("sequences_waiting", "Sequences that wait for their turn.", ("model",)),
        {(name,): one.waiting for name, one in found.items()},
    )
    pages = Gauge("pages", "Pages of the key-value cache by what they hold.", ("model", "state"))
    states = ("held", "cached", "free")
    yield _filled(
        pages, {(name, state): getattr(one, f"pages_{state}") for name, one in found.items() for state in states}
    )
    for field, said in _COUNTED.items():
        counter = Counter(f"engine_{field}_total", said, ("model",))
        yield _filled(counter, {(name,): getattr(one, field) for name, one in found.items()})


def _filled(metric: Counter, values: dict[Labels, float]) -> Counter:
    metric.values = values
    return metric
