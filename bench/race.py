"""Race Pacos against llama.cpp on the same file and threads, turn by turn, and keep the medians.

Adds a row per test to bench/results/<machine>.csv as soon as its case is done. The peer is the better of llama.cpp's
two settings (with and without repacking weights in memory). Without --peer only Pacos runs. A suite may be interrupted
and gone on with by --resume, or cut by naming cases: --only Q4_K_M '*/parallel'.
Units: tokens per second, seconds, bytes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import race_rows
import race_runs
from race_cases import SUITES, Case, chosen
from race_rows import RATE, Figures

MEGABYTE = 1e6


def run_case(case: Case, path: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of a case, each contender in its turn."""
    peer = race_runs.peer_python(options.peer_python) if options.peer else None
    contenders = race_runs.commands(case, path, options.threads, peer)
    outputs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    disturbed: list[float] = []
    for turn in range(options.rounds or case.rounds):
        for name, command in contenders.items():
            disturbed += [used for used in (race_runs.calm(),) if used is not None]
            try:
                with race_runs.one_core_busy(case.busy):
                    outputs[name].append(race_runs.output_of(command, options.limit))
            except (subprocess.SubprocessError, json.JSONDecodeError) as error:
                print(f"{case.key}: {name} failed: {error}", file=sys.stderr)
            else:
                print(f"{case.key} turn {turn + 1} {name}: {said(outputs[name][-1])}", file=sys.stderr)
    common = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "commit": race_runs.commit(),
        "machine": race_runs.machine(),
        "threads": options.threads,
        "model": path.name,
        "case": case.name,
        "others_cpu": round(max(disturbed), 2) if disturbed else "",
    }
    return first_token_rows(common, outputs) if case.first_token else rate_rows(case, common, outputs)


def said(output: dict[str, Any]) -> str:
    """What a contender found, in a line."""
    tests = [f"{test['test']} {test['runs'][0]:.2f}" for test in output.get("tests", ())]
    return ", ".join(tests) or f"{output['process_seconds']:.3f} s"


def rate_rows(case: Case, common: dict[str, Any], outputs: dict[str, list[dict[str, Any]]]) -> list[dict[str, object]]:
    """A row a test, from the runs of all turns."""
    figures: dict[str, Figures] = {}
    shares: dict[str, list[float]] = {}
    limits: dict[str, str] = {}
    for name, found in outputs.items():
        for test in (test for output in found for test in output["tests"]):
            figures.setdefault(test["test"], {}).setdefault(name, []).extend(test["runs"])
            if test.get("share_of_peak") is not None:
                shares.setdefault(test["test"], []).append(test["share_of_peak"])
                limits[test["test"]] = test["limit"]
    return [
        race_rows.row({**common, "limit": limits.get(test, "")}, test + case.suffix, RATE, kept, shares.get(test, []))
        for test, kept in figures.items()
        if kept.get("pacos")
    ]


def first_token_rows(common: dict[str, Any], outputs: dict[str, list[dict[str, Any]]]) -> list[dict[str, object]]:
    """Time of the whole process, time without starting Python, peak memory, and memory beyond the file."""

    def figures(key: str, names: dict[str, str], unit: float = 1.0) -> Figures:
        return {
            shown: [one[key] / unit for one in outputs.get(name, ()) if key in one] for shown, name in names.items()
        }

    peers = {name: name for name in outputs if name.startswith("llama_cpp")}
    whole, inside = {"pacos": "pacos run", **peers}, {"pacos": "pacos", **peers}
    found = [
        ("first token, whole process", "s", figures("process_seconds", whole)),
        ("first token, after imports", "s", figures("seconds", inside)),
        ("peak memory", "MB", figures("peak_bytes", inside, MEGABYTE)),
        ("memory beside the file", "MB", figures("anonymous_bytes", inside, MEGABYTE)),
    ]
    return [race_rows.row(common, test, unit, kept, []) for test, unit, kept in found if any(kept.values())]


def cases_of(options: argparse.Namespace) -> list[Case]:
    """The cases of a suite, or one for each model that was named."""
    if options.suite:
        return chosen(SUITES[options.suite], options.only)
    return [
        Case(
            model=model,
            name="first-token" if options.first_token else "base",
            prompt=options.p,
            generate=options.n,
            depth=options.d,
            parallel=options.parallel,
            cache=options.cache_type,
            busy=options.busy,
            first_token=options.first_token,
            rounds=3,
        )
        for model in options.models or ["Q4_K_M"]
    ]


def race(options: argparse.Namespace, path: Path) -> None:
    """Run case after case, writing as it goes."""
    done = {(one["commit"], one["model"], one["case"]) for one in race_rows.read(path)} if options.resume else set()
    commit, end = race_runs.commit(), time.monotonic() + options.budget
    for case in cases_of(options):
        try:
            model = race_runs.model_path(case.model, options.folder, options.limit)
            race_runs.read_through(model)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{case.key} is left out: {error}", file=sys.stderr)
            continue
        if (commit, model.name, case.name) in done:
            continue
        if time.monotonic() > end:
            print(f"{case.key} is left out: the race has taken {options.budget:.0f} s", file=sys.stderr)
            continue
        rows = run_case(case, model, options)
        race_rows.append(path, rows)
        for row in rows:
            print({key: value for key, value in row.items() if value != ""}, flush=True)


def main() -> None:
    """Parse, then race, list or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="GGUF files or types of random 1B models; default Q4_K_M")
    parser.add_argument("-p", default="512", help="prompt tokens, a list")
    parser.add_argument("-n", default="64", help="tokens to generate, a list")
    parser.add_argument("-d", default="0", help="tokens already in the context, a list")
    parser.add_argument("-np", "--parallel", default="1", help="sequences together, a list")
    parser.add_argument("--cache-type", default="f16", help="of keys and values")
    parser.add_argument("--busy", action="store_true", help="while another process keeps one core busy")
    parser.add_argument("--first-token", action="store_true", help="time and memory until a first token, instead")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="turns that each contender gets; default 3, or as the suite says")
    parser.add_argument("--suite", choices=SUITES, help="a list of cases instead; `issue` takes about 25 minutes")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="of a suite: MODEL, MODEL/NAME, */NAME")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--resume", action="store_true", help="leave out cases that have rows of this commit")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="of one process")
    parser.add_argument("--budget", type=float, default=1e9, metavar="SECONDS", help="after that no case is begun")
    parser.add_argument("--models", dest="folder", type=Path, default=race_runs.ROOT / "build" / "cache")
    parser.add_argument("--results", type=Path, help="the CSV; default bench/results/<machine>.csv")
    parser.add_argument("--strict", action="store_true", help="refuse to race while others use the machine")
    parser.add_argument("--peer", action="store_true", help="race llama.cpp too")
    parser.add_argument("--peer-python", help="Python that has llama-cpp-python; default: an environment made here")
    parser.add_argument("--table", nargs="?", const="", metavar="SINCE", help="print the results as Markdown and stop")
    options = parser.parse_args()
    path = options.results or race_runs.ROOT / "bench" / "results" / f"{race_runs.machine()}.csv"
    if options.table is not None:
        print(race_rows.table(race_rows.read(path), options.table), end="")
    elif options.list:
        print("\n".join(case.key for case in cases_of(options)))
    elif options.strict and (race_runs.calm() or 0) > race_runs.BUSY_CPU:
        sys.exit("others use this machine: the figures would not count")
    else:
        race(options, path)


if __name__ == "__main__":
    main()
