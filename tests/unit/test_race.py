"""The race against llama.cpp, without llama.cpp: cases, medians, rows, the file and its table."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import race
import race_cases
import race_rows
import race_runs
from commands import STORYTELLER

COMMON: dict[str, Any] = {"date": "2026-11-25", "commit": "abc", "model": "m-Q4_0.gguf", "case": "base", "threads": 2}
RACE = Path(race.__file__)


def output(test: str, *rates: float, **more: Any) -> dict[str, Any]:
    return {"tests": [{"test": test, "runs": list(rates), **more}], "process_seconds": 1.0}


def test_a_rate_is_compared_with_the_better_peer() -> None:
    figures = {"pacos": [30.0, 10.0, 20.0], "llama_cpp": [8.0, 12.0], "llama_cpp_no_repack": [16.0]}
    assert race_rows.ratio(figures, "tokens/s") == 20 / 16
    assert race_rows.ratio(figures, "s") == 10 / 20
    assert race_rows.ratio({"pacos": [1.0], "llama_cpp": []}, "s") is None
    assert race_rows.ratio({"pacos": [], "llama_cpp": [1.0]}, "s") is None


def test_rows_of_rates_take_all_turns_together() -> None:
    case = race_cases.Case("Q4_0", "busy", generate="8", cache="q8_0", busy=True)
    outputs = {
        "pacos": [output("tg8", value, share_of_peak=value / 100, limit="reads") for value in (40.0, 60.0, 50.0)],
        "llama_cpp": [output("tg8", 20.0), output("tg8", 30.0)],
    }
    (row,) = race.rate_rows(case, COMMON, outputs)
    assert row["test"] == "tg8, cache q8_0, one core busy"
    assert (row["pacos"], row["llama_cpp"], row["llama_cpp_no_repack"]) == ("50", "25", "")
    assert (row["ratio"], row["share_of_peak"], row["limit"], row["rounds"]) == (2.0, 0.5, "reads", 3)
    assert set(row) == set(race_rows.FIELDS)
    assert race.rate_rows(case, COMMON, {"pacos": [], "llama_cpp": [output("tg8", 20.0)]}) == []


def test_rows_of_a_first_token() -> None:
    outputs = {
        "pacos": [{"seconds": 0.2, "process_seconds": 0.4, "peak_bytes": 3e6, "anonymous_bytes": 1e6}],
        "pacos run": [{"process_seconds": 0.5}],
        "llama_cpp": [{"seconds": 0.8, "process_seconds": 2.0, "peak_bytes": 6e6}],
    }
    rows = {str(row["test"]): row for row in race.first_token_rows(COMMON, outputs)}
    assert {test: (row["pacos"], row["llama_cpp"], row["ratio"]) for test, row in rows.items()} == {
        "first token, whole process": ("0.5", "2", 4.0),
        "first token, after imports": ("0.2", "0.8", 4.0),
        "peak memory": ("3", "6", 2.0),
        "memory beside the file": ("1", "", ""),
    }


def test_a_file_grows_and_its_table_shows_the_newest_rows_and_losses(tmp_path: Path) -> None:
    path = tmp_path / "results" / "machine.csv"
    for date, ours in (("2026-11-24", 9.0), ("2026-11-25", 12.0)):
        figures = {"pacos": [ours], "llama_cpp": [10.0]}
        race_rows.append(path, [race_rows.row({**COMMON, "date": date}, "pp512", "tokens/s", figures, [0.5])])
    late = race_rows.row({**COMMON, "limit": "reads"}, "tg32", "tokens/s", {"pacos": [8], "llama_cpp": [10]}, [0.25])
    cold = race_rows.row(COMMON, "first token", "s", {"pacos": [0.5], "llama_cpp": [1], "llama_cpp_no_repack": [2]}, [])
    race_rows.append(path, [late, cold])
    rows = race_rows.read(path)
    assert len(rows) == 4
    assert race_rows.table(rows).splitlines()[2:] == [
        "| m-Q4_0 | pp512 | 12 | 10 | **1.20** | 50 % () |",
        "| m-Q4_0 | tg32 | 8 | 10 | 0.80 | 25 % (reads) |",
        "| m-Q4_0 | first token | 0.5 s | 1 s | **2.00** |  |",
    ]
    assert "pp512" not in race_rows.table(rows[:1], since="2026-11-25")
    assert race_rows.read(tmp_path / "none.csv") == []


def test_the_published_results_have_the_fields() -> None:
    for path in (RACE.parent / "results").glob("*.csv"):
        if path.stem.endswith(("-load", "-encode", "quantization")):  # other races, with fields of their own
            continue
        rows = race_rows.read(path)
        assert rows
        assert all(tuple(row) == race_rows.FIELDS for row in rows)
        assert race_rows.table(rows).count("\n") > 2


def test_cases_are_chosen_by_model_and_name() -> None:
    cases = race_cases.SUITES["issue"]
    assert len({case.key for case in cases}) == len(cases)
    assert race_cases.chosen(cases, []) == cases
    assert {case.model for case in race_cases.chosen(cases, ["Q8_0", "BF16"])} == {"Q8_0", "BF16"}
    assert [case.key for case in race_cases.chosen(cases, ["*/parallel"])] == ["Q4_K_M/parallel"]


def test_contenders_measure_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = race_cases.Case("Q4_0", "base", prompt="512", generate="32", depth="7", parallel="2,4", cache="q8_0")
    found = race_runs.commands(case, STORYTELLER, 3, "python")
    assert list(found) == ["pacos", "llama_cpp"]  # no weights of it are repacked
    tail = "-p 512 -n 32 -d 7 -np 2,4 -t 3 -r 1 -ctk q8_0 -ctv q8_0".split()
    assert found["pacos"][5:] == [*tail, "--json"]
    assert found["llama_cpp"][3:] == tail
    monkeypatch.setattr(race_runs, "REPACKED", {"Q8_0"})
    assert race_runs.commands(case, STORYTELLER, 3, "python")["llama_cpp_no_repack"][-1] == "--no-repack"


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_runs, "CALM_SECONDS", 0)
    monkeypatch.setattr(race_runs, "_SAMPLE_SECONDS", 0.01)


@pytest.mark.usefixtures("_in_a_hurry")
def test_a_race_of_pacos_alone_writes_rows_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    given = [str(STORYTELLER), "-p", "8", "-n", "2", "-np", "1,2", "-t", "1", "--rounds", "1", "--resume"]
    monkeypatch.setattr(sys, "argv", ["race.py", *given, "--results", str(path)])
    for _ in range(2):
        race.main()
        assert [row["test"] for row in race_rows.read(path)] == ["pp8", "tg2", "pp8 x2", "tg2 x2"]
    assert all(float(row["pacos"]) > 0 and row["ratio"] == "" for row in race_rows.read(path))


@pytest.mark.usefixtures("_in_a_hurry")
def test_memory_and_time_of_a_first_token_are_measured() -> None:
    case = race_cases.Case(str(STORYTELLER), "first-token", first_token=True, rounds=1)
    rows = race.run_case(case, STORYTELLER, Namespace(peer=False, threads=1, rounds=1, limit=60.0))
    found = {row["test"]: float(str(row["pacos"])) for row in rows}
    assert found["first token, whole process"] > 0
    assert found["first token, after imports"] > 0
    assert found["peak memory"] > 5


def test_a_failing_contender_says_why() -> None:
    with pytest.raises(subprocess.SubprocessError, match="exit code 3: no such file"):
        race_runs.output_of([sys.executable, "-c", "import sys; print('no such file'); sys.exit(3)"], 30)
    found = race_runs.output_of([sys.executable, "-c", f"print('note'); print({json.dumps('{}')!r}.strip('\"'))"], 30)
    assert found["process_seconds"] > 0
