"""The picture that `pacos bench --plot` draws: a bar a test, with its share of the machine's peak."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pacos.cli.bench_rows import Measured
from pacos.cli.options import need_folder_of
from pacos.errors import UsageError

_PANELS = (("prompt", "Prompt"), ("generate", "Generation"))
_COLOURS = {"prompt": "#3b6ea5", "generate": "#c0702d"}
_BAR_INCHES, _FRAME_INCHES, _WIDTH_INCHES = 0.42, 1.0, 8.0


def check_plot(path: Path) -> None:
    """Say before measuring what would fail after it.

    Errors: UsageError when matplotlib is missing, the folder is, or no picture has that ending.
    """
    try:
        backends: Any = importlib.import_module("matplotlib.backends.backend_agg")
    except ImportError:
        raise UsageError("--plot needs matplotlib", hint="pip install 'pacos[plot]'") from None
    kinds = backends.FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in kinds:
        raise UsageError(
            f"--plot {path}: no kind of picture", hint=f"end the name in .png, or {', '.join(sorted(kinds))}"
        )
    need_folder_of(path, f"--plot {path}: ")


def plot(path: Path, title: str, measured: Sequence[Measured]) -> None:
    """Write the picture; prompts and generation have panels of their own, for their rates differ."""
    figures: Any = importlib.import_module("matplotlib.figure")
    threads = {one.threads for one in measured}
    panels = []
    for kind, name in _PANELS:
        rows = [one.row() for one in measured if one.test.kind == kind]
        if rows:
            panels.append((kind, name, rows))
    heights = [len(rows) * _BAR_INCHES + _FRAME_INCHES for _, _, rows in panels]
    figure = figures.Figure(figsize=(_WIDTH_INCHES, sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis, (kind, name, rows) in zip(axes[:, 0], panels, strict=True):
        _draw(axis, rows, _COLOURS[kind], several_threads=len(threads) > 1)
        axis.set_title(name, loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("tokens per second (line: slowest and fastest run; in brackets: share of the peak)")
    figure.suptitle(title if len(threads) > 1 else f"{title}, {min(threads)} threads", fontsize=11)
    figure.savefig(path, dpi=120)


def _draw(axis: Any, rows: list[dict[str, Any]], colour: str, *, several_threads: bool) -> None:
    names = [f"{row['test']}, {row['threads']} threads" if several_threads else row["test"] for row in rows]
    rates = [row["tokens_per_second"] for row in rows]
    spread = [
        [rate - row["minimum"] for rate, row in zip(rates, rows, strict=True)],
        [row["maximum"] - rate for rate, row in zip(rates, rows, strict=True)],
    ]
    places = range(len(rows))
    axis.barh(places, rates, height=0.6, color=colour, xerr=spread, ecolor="#333333", capsize=3)
    for place, row in zip(places, rows, strict=True):
        share = row["share_of_peak"]
        note = "" if share is None else f" ({share * 100:.0f}% of {row['limit']})"
        axis.annotate(
            f"{row['tokens_per_second']:.1f}{note}",
            (row["maximum"], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.set_yticks(places, names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, max(row["maximum"] for row in rows) * 1.35)
    axis.spines[["top", "right"]].set_visible(False)
