"""What `pacos bench` found, as rows: for tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render

if TYPE_CHECKING:
    from pacos.backends.cpu.machine import Machine
    from pacos.engine.measure import Test
    from pacos.engine.profile import Profile
    from pacos.engine.work import Work


@dataclass(frozen=True, slots=True)
class Measured:
    """A test's runs. Units: seconds of each run, work of one run; machine is None where no limit was measured."""

    test: Test
    threads: int
    seconds: tuple[float, ...]
    work: Work
    machine: Machine | None

    def row(self) -> dict[str, Any]:
        """Everything as flat data, in the order of the CSV's columns."""
        median = statistics.median(self.seconds)
        tokens = self.test.all_tokens
        share, limit = share_of_peak(self.work, median, self.machine)
        return {
            "test": self.test.name,
            "threads": self.threads,
            "kind": self.test.kind,
            "tokens": self.test.tokens,
            "depth": self.test.depth,
            "sequences": self.test.sequences,
            "tokens_per_second": tokens / median,
            "minimum": tokens / max(self.seconds),
            "maximum": tokens / min(self.seconds),
            "repetitions": len(self.seconds),
            "operations_per_second": (self.work.int8_operations + self.work.float_operations) / median,
            "bytes_per_second": self.work.bytes / median,
            "share_of_peak": share,
            "limit": limit,
        }


def share_of_peak(work: Work, seconds: float, machine: Machine | None) -> tuple[float | None, str]:
    """The time that the machine's limits allow, as a share of the time taken; and which limit that is.

    Multiply-adds of weights count, those of attention do not.
    """
    if machine is None or seconds <= 0:
        return None, ""
    arithmetic = (
        work.int8_operations / machine.int8_operations_per_second
        + work.float_operations / machine.float_operations_per_second
    )
    reads = work.bytes / machine.bytes_per_second
    if arithmetic >= reads:
        return arithmetic / seconds, "arithmetic"
    return reads / seconds, "reads"


def print_table(measured: Sequence[Measured]) -> None:
    """A line a test; a column that says the same on every line is left out."""
    rows = [one.row() for one in measured]
    headers = ["test", "threads", "tokens/s", "min", "max", "GOPS", "GB/s", "of peak", "limit"]
    if len({row["threads"] for row in rows}) == 1:
        headers.remove("threads")
    lines = []
    for row in rows:
        share = row["share_of_peak"]
        cells = {
            "test": row["test"],
            "threads": row["threads"],
            "tokens/s": f"{row['tokens_per_second']:.2f}",
            "min": f"{row['minimum']:.2f}",
            "max": f"{row['maximum']:.2f}",
            "GOPS": f"{row['operations_per_second'] / 1e9:.1f}",
            "GB/s": f"{row['bytes_per_second'] / 1e9:.2f}",
            "of peak": _percent(share),
            "limit": row["limit"],
        }
        lines.append([cells[name] for name in headers])
    render.table(headers, lines)


def csv_text(model: str, measured: Sequence[Measured]) -> str:
    """A header, then a line a test."""
    rows = [{"model": model, **one.row()} for one in measured]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["model"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()


def machine_text(machine: Machine) -> str:
    """The limits in one line."""
    return (
        f"{machine.threads} threads ({machine.instruction_set}): reads {machine.bytes_per_second / 1e9:.1f} GB/s, "
        f"8-bit {machine.int8_operations_per_second / 1e9:.0f} GOPS, "
        f"f32 {machine.float_operations_per_second / 1e9:.0f} GOPS"
    )


def profile_rows(profile: Profile, machine: Machine | None) -> list[dict[str, Any]]:
    """Every group of operations, then the time outside of all."""
    rows = []
    for share in profile.shares:
        work, seconds = share.work, share.seconds
        bandwidth = work.bytes / seconds if seconds else 0.0
        rate = work.operations / seconds if seconds else 0.0
        peak = _arithmetic_seconds(work, machine) / seconds if machine and seconds else None
        rows.append(
            {
                "op": share.name,
                "calls": share.calls,
                "seconds": seconds,
                "share_of_step": seconds / profile.seconds,
                "bytes_per_second": bandwidth,
                "share_of_bandwidth": bandwidth / machine.bytes_per_second if machine else None,
                "operations_per_second": rate,
                "share_of_arithmetic": peak,
            }
        )
    return rows


def _arithmetic_seconds(work: Work, machine: Machine) -> float:
    floats = work.float_operations + work.attention_operations
    return work.int8_operations / machine.int8_operations_per_second + floats / machine.float_operations_per_second


def profile_data(profile: Profile, machine: Machine | None) -> dict[str, Any]:
    """A profile as JSON has it."""
    return {
        "test": profile.test.name,
        "threads": machine.threads if machine else None,
        "steps": profile.steps,
        "seconds": profile.seconds,
        "outside_seconds_per_step": profile.rest_seconds / profile.steps,
        "operations": profile_rows(profile, machine),
    }


def print_profile(profile: Profile, machine: Machine | None) -> None:
    """A table of a test's operations."""
    milliseconds = profile.seconds / profile.steps * 1e3
    steps = "1 step" if profile.steps == 1 else f"{profile.steps} steps"
    click.echo(f"\n{profile.test.name}: {steps} of {milliseconds:.3f} ms")
    lines = []
    for row in profile_rows(profile, machine):
        worked = row["operations_per_second"] > 0
        read = row["bytes_per_second"] > 0
        lines.append(
            [
                row["op"],
                str(row["calls"]),
                f"{row['seconds'] * 1e3:.2f}",
                f"{row['share_of_step'] * 100:.1f}%",
                f"{row['bytes_per_second'] / 1e9:.2f}" if read else "",
                _percent(row["share_of_bandwidth"]) if read else "",
                f"{row['operations_per_second'] / 1e9:.1f}" if worked else "",
                _percent(row["share_of_arithmetic"]) if worked else "",
            ]
        )
    rest = profile.rest_seconds
    outside = f"outside ({rest / profile.steps * 1e6:.0f} us a step)"
    lines.append([outside, "", f"{rest * 1e3:.2f}", f"{rest / profile.seconds * 100:.1f}%", "", "", "", ""])
    render.table(("operation", "calls", "ms", "of time", "GB/s", "of reads", "GOPS", "of peak"), lines)


def bench_data(
    model: str,
    machines: Sequence[Machine],
    measured: Sequence[Measured],
    profiles: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """All of it as one JSON object; a profile is there when it was asked for."""
    tests = []
    for one in measured:
        rates = [one.test.all_tokens / seconds for seconds in one.seconds]
        tests.append({**one.row(), "runs": [round(rate, 4) for rate in rates]})
    found: dict[str, Any] = {"model": model, "machine": [asdict(one) for one in machines], "tests": tests}
    return {**found, "profile": list(profiles)} if profiles else found


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.1f}%"
