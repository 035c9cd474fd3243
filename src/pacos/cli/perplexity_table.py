"""What `pacos perplexity` prints of models that are compared: a line each, and all of one's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render

if TYPE_CHECKING:
    from pacos.llm import LLM
    from pacos.llm.divergence import Divergence


@dataclass(frozen=True, slots=True)
class Compared:
    """A model and its figures (llm/divergence.py); the base has none but its perplexity."""

    name: str
    nbytes: int
    bits_per_weight: float
    figures: dict[str, Any]

    @classmethod
    def of(
        cls, llm: LLM, found: Divergence | None, perplexity: tuple[float, float] = (0.0, 0.0), tokens: int = 0
    ) -> Compared:
        """What was found of an open model."""
        entries = llm.archive.tensors.values()
        nbytes = sum(entry.nbytes for entry in entries)
        weights = 0
        for entry in entries:
            count = 1
            for size in entry.shape:
                count *= size
            weights += count
        figures = {"tokens": tokens, "perplexity": list(perplexity)} if found is None else found.figures()
        return cls(llm.path.name, nbytes, 8 * nbytes / max(1, weights), figures)

    @property
    def is_base(self) -> bool:
        """Whether the others are compared with it."""
        return "divergence" not in self.figures

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        size = {"bytes": self.nbytes, "bits_per_weight": self.bits_per_weight}
        return {"model": self.name, "base": self.is_base, **size, **self.figures}


def print_compared(found: Sequence[Compared]) -> None:
    """A table of all; of a single one all its figures."""
    if len(found) == 1:
        _print_figures(found[0].figures)
        return
    heads = ("model", "size", "bits", "perplexity", "+/-", "mean KLD", "99.9% KLD", "max KLD", "change RMS", "same top")
    rows = []
    for one in found:
        figures = one.figures
        row = [render.printable(one.name), render.size_text(one.nbytes), f"{one.bits_per_weight:.2f}"]
        row += [f"{number:.4f}" for number in figures["perplexity"]]
        if one.is_base:
            row += [""] * 5
        else:
            quantiles = figures["divergence_quantiles"]
            row += [f"{number:.6f}" for number in (figures["divergence"][0], quantiles["99.9%"], quantiles["maximum"])]
            row += [f"{100 * figures[key][0]:.3f}%" for key in ("change_rms", "same_top")]
        rows.append(row)
    render.table(heads, rows)


def _print_figures(figures: dict[str, Any]) -> None:
    """Every figure, in the order of llama-perplexity's."""
    names = {
        "perplexity": "perplexity of the model",
        "base_perplexity": "perplexity of the base",
        "log_ratio": "ln(perplexity / base)",
        "ratio": "perplexity / base",
        "difference": "perplexity - base",
    }
    rows: list[tuple[str, ...]]
    rows = [(text, f"{figures[key][0]:.6f}", f"{figures[key][1]:.6f}") for key, text in names.items()]
    rows.insert(2, ("correlation of the losses", f"{100 * figures['correlation']:.2f}%", ""))
    rows.append(("mean divergence", *(f"{number:.6f}" for number in figures["divergence"])))
    rows += [(f"{name} divergence", f"{value:.6f}", "") for name, value in figures["divergence_quantiles"].items()]
    rows.append(("mean change of probability", *_percent(figures["change"])))
    rows += [(f"{name} change", f"{100 * value:.3f}%", "") for name, value in figures["change_quantiles"].items()]
    rows.append(("change of probability, RMS", *_percent(figures["change_rms"])))
    rows.append(("same likeliest token", *_percent(figures["same_top"])))
    render.table(("figure", "value", "+/-"), rows)
    click.echo(f"{figures['tokens']} tokens")


def _percent(pair: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{100 * number:.3f}%" for number in pair)
