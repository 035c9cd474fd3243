"""The picture that `pacos perplexity --plot` draws: perplexity and divergence of quantizations against their size."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pacos.cli.perplexity_table import Compared

_COLOURS = ("#3b6ea5", "#c0702d")
_SIZE_INCHES = (9.0, 7.5)
_FAR = 20.0  # largest over smallest, from which an axis is logarithmic


def plot(path: Path, found: Sequence[Compared]) -> None:
    """Write the picture; a model is a point, the base a line."""
    figures: Any = importlib.import_module("matplotlib.figure")
    figure = figures.Figure(figsize=_SIZE_INCHES, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    points = [one for one in found if not one.is_base]
    bases = [one.figures["perplexity"][0] for one in found if one.is_base]
    bases += [one.figures["base_perplexity"][0] for one in points][: not bases]
    _draw(above, points, [one.figures["perplexity"][0] for one in points], _COLOURS[0])
    for base in bases:
        above.axhline(base, color="#777777", linewidth=1, linestyle="--", label=f"base, {base:.4f}")
        above.legend(frameon=False, fontsize=8)
    above.set_ylabel("perplexity")
    _draw(below, points, [one.figures["divergence"][0] for one in points], _COLOURS[1])
    below.set_ylabel("mean Kullback-Leibler divergence, nats")
    below.set_xlabel("bits per weight")
    figure.suptitle(f"{found[0].name if found[0].is_base else 'quantizations'}: what quantizing costs", fontsize=11)
    figure.savefig(path, dpi=120)


def _draw(axis: Any, points: Sequence[Compared], values: Sequence[float], colour: str) -> None:
    axis.plot([one.bits_per_weight for one in points], values, "o", color=colour, markersize=6)
    for one, value in zip(points, values, strict=True):
        axis.annotate(
            one.name.removesuffix(".gguf"),
            (one.bits_per_weight, value),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=7,
        )
    if min(values) > 0 and max(values) > _FAR * min(values):
        axis.set_yscale("log")
    axis.margins(x=0.12, y=0.12)
    axis.spines[["top", "right"]].set_visible(False)
