"""How far a model's predictions are from those of another: llama.cpp's numbers.

Source: llama.cpp, tools/perplexity (kl_divergence).
Shapes: V vocabulary entries, R rows of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = -16.0  # log-probabilities of the base below this do not count
_SHARES = (0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001)


@dataclass(slots=True)
class Divergence:
    """What is known of every scored token, in order. Units: natural logarithms; changes of probability, 0 to 1."""

    losses: list[NDArray[Any]] = field(default_factory=list)
    base_losses: list[NDArray[Any]] = field(default_factory=list)
    divergences: list[NDArray[Any]] = field(default_factory=list)
    changes: list[NDArray[Any]] = field(default_factory=list)
    same_top: int = 0

    def add(self, logits: NDArray[Any], base: NDArray[Any], tokens: Sequence[int]) -> None:
        """Compare rows with the base's log-probabilities; `tokens` are those that came. Shapes: [R, V], [R, V], R."""
        high = logits.max(axis=1, keepdims=True)
        sums = np.log(np.exp(logits - high).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
        own = logits - (high + sums)
        places = np.arange(len(tokens)), np.array(tokens)
        counted = base > np.float32(_LEAST)
        terms = np.where(counted, np.exp(base) * (base - own), np.float32(0))
        self.losses.append(-own[places].astype(np.float64))
        self.base_losses.append(-base[places].astype(np.float64))
        self.divergences.append(terms.sum(axis=1, dtype=np.float64))
        self.changes.append((np.exp(own[places]) - np.exp(base[places])).astype(np.float64))
        self.same_top += int((logits.argmax(axis=1) == base.argmax(axis=1)).sum())

    def figures(self) -> dict[str, Any]:
        """Every number of llama.cpp's table, uncertainties beside their means."""
        losses, bases, divergences, changes = (
            np.concatenate(one) for one in (self.losses, self.base_losses, self.divergences, self.changes)
        )
        count = len(losses)
        loss, loss_error = _mean(losses)
        base, base_error = _mean(bases)
        shared = float(np.mean(losses * bases) - losses.mean() * bases.mean()) / max(1, count - 1)
        ratio_error = math.sqrt(max(0.0, loss_error**2 + base_error**2 - 2 * shared))
        perplexity, base_perplexity = math.exp(min(loss, 700)), math.exp(min(base, 700))
        errors = perplexity * loss_error, base_perplexity * base_error
        square, square_error = _mean(np.square(changes))
        root, top = math.sqrt(square), self.same_top / count
        difference = errors[0] ** 2 + errors[1] ** 2 - 2 * perplexity * base_perplexity * shared
        return {
            "tokens": count,
            "perplexity": [perplexity, errors[0]],
            "base_perplexity": [base_perplexity, errors[1]],
            "correlation": shared / (loss_error * base_error) if loss_error * base_error > 0 else 1.0,
            "log_ratio": [loss - base, ratio_error],
            "ratio": [math.exp(loss - base), math.exp(loss - base) * ratio_error],
            "difference": [perplexity - base_perplexity, math.sqrt(max(0.0, difference))],
            "divergence": list(_mean(divergences)),
            "divergence_quantiles": _quantiles(divergences),
            "change": list(_mean(changes)),
            "change_quantiles": _quantiles(changes),
            "change_rms": [root, 0.5 / root * square_error if root else 0.0],
            "same_top": [top, math.sqrt(top * (1 - top) / max(1, count - 1))],
        }


def _mean(values: NDArray[Any]) -> tuple[float, float]:
    """The mean, and its standard error."""
    mean = float(values.mean())
    spread = float(np.mean(np.square(values))) - mean * mean
    return mean, math.sqrt(spread / (len(values) - 1)) if spread > 0 and len(values) > 1 else 0.0


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    """Extremes and shares between, as "99.9%": so many values lie below."""
    names = {f"{100 * share:.1f}%": share for share in _SHARES}
    found = {name: float(np.quantile(values, share)) for name, share in names.items()}
    return {"maximum": float(values.max()), **found, "minimum": float(values.min())}
