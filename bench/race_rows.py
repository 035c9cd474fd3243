"""Rows of bench/results: medians of what the contenders showed, and the table that the README has."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

FIELDS = (
    "date",
    "commit",
    "machine",
    "threads",
    "model",
    "case",
    "test",
    "unit",
    "pacos",
    "llama_cpp",
    "llama_cpp_no_repack",
    "ratio",
    "share_of_peak",
    "limit",
    "rounds",
    "others_cpu",
)
RATE = "tokens/s"
Figures = dict[str, list[float]]  # per contender, one figure a round


def ratio(figures: Figures, unit: str) -> float | None:
    """How many times better Pacos is than the better peer; of seconds and bytes, less is better."""
    medians = {name: statistics.median(kept) for name, kept in figures.items() if kept}
    ours = medians.pop("pacos", None)
    if ours is None or not medians:
        return None
    return ours / max(medians.values()) if unit == RATE else min(medians.values()) / ours


def row(common: Mapping[str, object], test: str, unit: str, figures: Figures, shares: list[float]) -> dict[str, object]:
    """A line of the file; what was not measured stays empty."""
    found: dict[str, object] = dict.fromkeys(FIELDS, "")
    found |= {name: f"{statistics.median(kept):.4g}" for name, kept in figures.items() if kept}
    times = ratio(figures, unit)
    return found | {
        **common,
        "test": test,
        "unit": unit,
        "ratio": "" if times is None else round(times, 3),
        "share_of_peak": round(statistics.median(shares), 3) if shares else "",
        "rounds": max(map(len, figures.values()), default=0),
    }


def read(path: Path) -> list[dict[str, str]]:
    """All rows of a file; none when there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Add rows at once, so that an interrupted race keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def table(rows: Iterable[Mapping[str, str]], since: str = "") -> str:
    """A Markdown table of the newest row of each test, losses and all; `since` is a date such as 2026-11-25."""
    newest: dict[tuple[str, str], Mapping[str, str]] = {}
    for one in rows:
        if one["date"] >= since:
            key = (one["model"], one["test"])
            newest.pop(key, None)  # a test that was measured again moves behind its model's others
            newest[key] = one
    lines = ["| file | test | Pacos | llama.cpp | ratio | share of peak |", "|---|---|---|---|---|---|"]
    order = {model: place for place, model in enumerate(dict.fromkeys(one["model"] for one in newest.values()))}
    ordered = sorted(newest.values(), key=lambda one: order[one["model"]])
    lines += [f"| {' | '.join(_cells(one))} |" for one in ordered]
    return "\n".join(lines) + "\n"


def _cells(one: Mapping[str, str]) -> tuple[str, ...]:
    peers = [float(one[name]) for name in ("llama_cpp", "llama_cpp_no_repack") if one[name]]
    better = max(peers, default=None) if one["unit"] == RATE else min(peers, default=None)
    unit = "" if one["unit"] == RATE else f" {one['unit']}"
    times = float(one["ratio"]) if one["ratio"] else None
    share = f"{float(one['share_of_peak']) * 100:.0f} % ({one['limit']})" if one["share_of_peak"] else ""
    return (
        one["model"].removesuffix(".gguf"),
        one["test"],
        f"{float(one['pacos']):g}{unit}" if one["pacos"] else "",
        f"{better:g}{unit}" if better is not None else "",
        "" if times is None else f"**{times:.2f}**" if times >= 1 else f"{times:.2f}",
        share,
    )
