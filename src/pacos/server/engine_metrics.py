"""Numbers of the engines behind the open models, looked up when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from pacos.server.metrics import Counter, Gauge, Labels, Metric, Metrics
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


def llama_metrics(metrics: Metrics, residency: Residency) -> Iterator[Metric]:
    """Numbers under llama-server's names, for boards that were made for it."""
    engines = [resident.llm.engine.statistics() for resident in list(residency.open.values())]
    prompt = metrics.prompt_tokens.values[()] - metrics.cached_tokens.values[()]
    made = metrics.generated_tokens.values[()]
    prompt_seconds, made_seconds = metrics.prompt_seconds.values[()], metrics.generate_seconds.values[()]
    counted = {
        "prompt_tokens_total": ("Number of prompt tokens processed.", prompt),
        "prompt_seconds_total": ("Prompt process time.", prompt_seconds),
        "tokens_predicted_total": ("Number of generation tokens processed.", made),
        "tokens_predicted_seconds_total": ("Predict process time.", made_seconds),
        "n_decode_total": ("Total number of steps.", sum(one.steps for one in engines)),
    }
    measured = {
        "prompt_tokens_seconds": ("Average prompt throughput in tokens/s.", _rate(prompt, prompt_seconds)),
        "predicted_tokens_seconds": ("Average generation throughput in tokens/s.", _rate(made, made_seconds)),
        "requests_processing": ("Number of requests processing.", sum(one.running for one in engines)),
        "requests_deferred": ("Number of requests deferred.", sum(one.waiting for one in engines)),
    }
    for kind, found in ((Counter, counted), (Gauge, measured)):
        for name, (said, value) in found.items():
            metric = _filled(kind(name, said), {(): value})
            metric.name = f"llamacpp:{name}"
            yield metric


def _rate(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _filled(metric: Counter, values: dict[Labels, float]) -> Counter:
    metric.values = values
    return metric
