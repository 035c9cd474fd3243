"""Numbers about the server in Prometheus' text format."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from pacos.server.recent import Recent

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "pacos_"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

Labels = tuple[str, ...]


class Counter:
    """A number that grows, for each combination of labels."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = PREFIX + name, help, tuple(labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1, *labels: str) -> None:
        """Let it grow."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def lines(self) -> Iterator[str]:
        """Its samples."""
        for labels, value in list(self.values.items()):
            yield f"{self.name}{_braced(self.labels, labels)} {_number(value)}"


class Gauge(Counter):
    """A number that goes up and down."""

    kind = "gauge"


class Histogram:
    """How often a quantity lay below each bound, with sum and count."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float] = SECONDS) -> None:
        self.name, self.help, self.bounds = PREFIX + name, help, tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self) -> Iterator[str]:
        """Its samples; the counts of buckets include those of the smaller ones."""
        total = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            total += count
            yield f'{self.name}_bucket{{le="{_number(bound)}"}} {total}'
        yield f"{self.name}_sum {_number(self.sum)}"
        yield f"{self.name}_count {total}"


Metric = Counter | Histogram


class Metrics:
    """All numbers of one server; `collect` gives samples that are only looked up when asked for."""

    def __init__(self) -> None:
        self.requests = Counter("requests_total", "Requests by path and status.", ("path", "status"))
        self.running = Gauge("requests_running", "Requests being answered, waiting ones included.")
        self.request_seconds = Histogram("request_seconds", "Time from a request's head to the answer's end.")
        self.first_token_seconds = Histogram(
            "time_to_first_token_seconds", "Time from a request's head to its first token."
        )
        self.token_seconds = Histogram(
            "time_per_token_seconds",
            "Mean time between the tokens of an answer.",
            (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
        )
        self.prompt_tokens = Counter("prompt_tokens_total", "Tokens of prompts.")
        self.cached_tokens = Counter("prompt_tokens_cached_total", "Tokens of prompts that were not computed anew.")
        self.generated_tokens = Counter("generated_tokens_total", "Tokens generated.")
        self.prompt_seconds = Counter("prompt_seconds_total", "Time that prompts took to be computed.")
        self.generate_seconds = Counter("generate_seconds_total", "Time that answers took after their first token.")
        self.disconnects = Counter("disconnects_total", "Requests whose client left before the answer's end.")
        self.loop_lag = Histogram(
            "event_loop_lag_seconds",
            "How late the event loop was.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
        )
        self.recent = Recent()
        self.collectors: list[Callable[[], Iterable[Metric]]] = []

    def first_token(self, seconds: float) -> None:
        """Note how long the first token of an answer took."""
        self.first_token_seconds.observe(seconds)
        self.recent.first_token.add(seconds)

    def between_tokens(self, seconds: float) -> None:
        """Note the mean time between the tokens of an answer."""
        self.token_seconds.observe(seconds)
        self.recent.between_tokens.add(seconds)

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        own: list[Metric] = [one for one in vars(self).values() if isinstance(one, (Counter, Histogram))]
        lines = []
        for one in [*own, *(found for collect in self.collectors for found in collect())]:
            lines += [f"# HELP {one.name} {one.help}", f"# TYPE {one.name} {one.kind}", *one.lines()]
        return "\n".join(lines) + "\n"


def _braced(names: Labels, values: Labels) -> str:
    return "{" + ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True)) + "}" if names else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else f"{value:.9g}"
