"""`pacos bench`: tests as combinations, rows as tables, CSV and JSON, profiles, pictures, and what it refuses."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from commands import Outcome, here

from pacos.backends.cpu.machine import Machine
from pacos.cli.bench_rows import Measured, share_of_peak
from pacos.engine.measure import Test, TestBed
from pacos.engine.work import Work

SMALL = ("storyteller", "-r", "1", "-t", "1")


def good(*arguments: object) -> Outcome:
    done = here("bench", *arguments)
    assert (done.code, done.err) == (0, "")
    return done


def test_every_combination_is_a_test() -> None:
    found = good("storyteller", "-p", "8,16", "-n", "2", "-d", "0,40", "-np", "1,3", "-t", "1,2", "-r", "2", "--json")
    tests = found.data["tests"]
    names = ["pp8", "pp16", "tg2", "pp8 @ d40", "pp16 @ d40", "tg2 @ d40"]
    assert [one["test"] for one in tests] == [*names, *(f"{name} x3" for name in names)] * 2
    assert [one["threads"] for one in tests] == [1] * 12 + [2] * 12
    for one in tests:
        assert len(one["runs"]) == one["repetitions"] == 2
        assert 0 < one["minimum"] <= one["tokens_per_second"] <= one["maximum"]
        assert one["share_of_peak"] > 0
        assert one["limit"] in {"reads", "arithmetic"}
    assert [machine["threads"] for machine in found.data["machine"]] == [1, 2]
    assert all(value > 0 for machine in found.data["machine"] for value in list(machine.values())[2:])
    assert "profile" not in found.data


def test_a_table_for_people_and_a_csv_for_programs() -> None:
    table = good(*SMALL, "-p", "0", "-n", "2,4").out.splitlines()
    assert table[0].startswith("1 threads (")
    assert table[1].split()[:4] == ["test", "tokens/s", "min", "max"]
    assert [line.split()[0] for line in table[2:]] == ["tg2", "tg4"]
    assert all(line.endswith(("reads", "arithmetic")) for line in table[2:])
    rows = list(csv.DictReader(io.StringIO(good(*SMALL, "-p", "8", "-n", "2", "--csv").out)))
    assert [row["test"] for row in rows] == ["pp8", "tg2"]
    assert all(row["model"] == "storyteller" and float(row["tokens_per_second"]) > 0 for row in rows)
    assert None not in rows[0]
    threads = good("storyteller", "-p", "0", "-n", "2", "-r", "1", "-t", "1,2").out.splitlines()
    assert threads[2].split()[:2] == ["test", "threads"]


def test_a_profile_says_where_the_time_went() -> None:
    found = good(*SMALL, "-p", "16", "-n", "3", "-d", "20", "--profile", "--json").data["profile"]
    assert [(one["test"], one["steps"]) for one in found] == [("pp16 @ d20", 1), ("tg3 @ d20", 3)]
    for one in found:
        times = [row["seconds"] for row in one["operations"]]
        assert times == sorted(times, reverse=True)
        outside = one["outside_seconds_per_step"] * one["steps"]
        assert sum(times) + outside == pytest.approx(one["seconds"], rel=1e-6)
    calls = {row["op"]: row["calls"] for row in found[1]["operations"]}
    assert calls["linears ffn_gate ffn_up Q8_0 1536x256"] == 4 * 3
    assert calls["attention"] == 4 * 3
    text = good(*SMALL, "-p", "16", "-n", "3", "--profile").out
    for words in ("pp16: 1 step of", "tg3: 3 steps of", "linear token_embd Q8_0 2048x256", "outside ("):
        assert words in text


def test_options_of_loading_reach_the_engine() -> None:
    exact = good(*SMALL, "-p", "32", "-n", "0", "-d", "64", "-ctk", "f32", "-ctv", "f32", "-r", "1", "--json").data
    plain = good(*SMALL, "-p", "32", "-n", "0", "-d", "64", "-ctk", "f16", "-ctv", "f16", "-r", "1", "--json").data
    read = [one["tests"][0]["bytes_per_second"] / one["tests"][0]["tokens_per_second"] for one in (exact, plain)]
    assert read[0] > read[1]


def test_the_reference_backend_is_measured_without_a_share() -> None:
    found = good("storyteller", "-p", "4", "-n", "0", "-r", "1", "--backend", "reference", "--json").data
    assert found["machine"] == []
    assert (found["tests"][0]["share_of_peak"], found["tests"][0]["limit"]) == (None, "")
    refused = here("bench", "storyteller", "-p", "4", "-n", "0", "-r", "1", "--backend", "reference", "--profile")
    assert (refused.code, "cannot time its operations" in refused.err) == (2, True)


def test_the_machine_alone() -> None:
    found = good("--machine", "-t", "1,2", "--json").data["machine"]
    assert [one["threads"] for one in found] == [1, 2]
    assert "GB/s" in good("--machine", "-t", "1").out


def test_what_was_measured_before_ctrl_c_is_printed() -> None:
    real = TestBed.seconds

    def interrupted(bed: TestBed, test: Test) -> float:
        if test.kind == "generate":
            raise KeyboardInterrupt
        return real(bed, test)

    with patch.object(TestBed, "seconds", interrupted):
        done = here("bench", *SMALL, "-p", "8", "-n", "4", "--json")
    assert done.code == 130
    assert [one["test"] for one in done.data["tests"]] == ["pp8"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "there is no model to measure"),
        (("storyteller", "-p", "0", "-n", "0"), "nothing to measure"),
        (("storyteller", "-p", "32", "-c", "16"), "too small: the test needs 128"),
        (("storyteller", "-p", "1,,2"), "no list of whole numbers"),
        (("storyteller", "-n", "x"), "no list of whole numbers"),
        (("storyteller", "-d", "-1"), "no list of whole numbers"),
        (("storyteller", "-np", "0"), "0 is not from 1 to 4096"),
        (("storyteller", "-t", "1,2000"), "2000 is not from 0 to 1024"),
        (("storyteller", "-p", "99999999999"), "is not from 0 to"),
        (("storyteller", "-r", "0"), "'-r' / '--repetitions'"),
        (("storyteller", "--json", "--csv"), "exclude each other"),
        (("storyteller", "--csv", "--profile"), "no room for a profile"),
        (("storyteller", "--cache-type-k", "q17"), "cache-type-k"),
        (("--machine", "storyteller"), "MODEL has no effect with --machine"),
        (("--machine", "--make", "tiny"), "--make has no effect"),
        (("storyteller", "--make-type", "Q8_0"), "--make-type has no effect"),
    ],
)
def test_wrong_values_are_errors(arguments: tuple[str, ...], said: str) -> None:
    done = here("bench", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_picture_needs_matplotlib(tmp_path: Path) -> None:
    loaded = [name for name in sys.modules if name.startswith("matplotlib.")]  # by another test of this process
    with patch.dict(sys.modules, dict.fromkeys(["matplotlib", "matplotlib.backends", *loaded])):
        done = here("bench", *SMALL, "--plot", tmp_path / "x.png")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --plot needs matplotlib; pip install 'pacos[plot]'\n"


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="comes with the extra [test]")
    path = tmp_path / "x.png"
    good(*SMALL, "-p", "8", "-n", "2", "-np", "1,2", "--plot", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "no kind of picture" in here("bench", *SMALL, "--plot", tmp_path / "x.gguf").err
    assert "no folder" in here("bench", *SMALL, "--plot", tmp_path / "none" / "x.png").err


def test_the_share_of_the_peak_is_that_of_the_nearer_limit() -> None:
    machine = Machine(1, "any", bytes_per_second=10.0, int8_operations_per_second=100.0, float_operations_per_second=50)
    assert share_of_peak(Work(int8_operations=100, float_operations=50, bytes=5), 4.0, machine) == (0.5, "arithmetic")
    assert share_of_peak(Work(int8_operations=100, bytes=20), 4.0, machine) == (0.5, "reads")
    assert share_of_peak(Work(bytes=20), 4.0, None) == (None, "")


def test_rates_count_all_sequences() -> None:
    row: dict[str, Any] = Measured(Test("generate", 5, 7, 4), 2, (2.0, 4.0, 1.0), Work(bytes=8), None).row()
    assert (row["tokens_per_second"], row["minimum"], row["maximum"]) == (10, 5, 20)
    assert (row["test"], row["bytes_per_second"]) == ("tg5 @ d7 x4", 4)
