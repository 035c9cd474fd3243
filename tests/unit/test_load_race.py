"""The race under load, without a peer: what its client sees, its figures, its row."""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
from pathlib import Path

import load
import load_client
import pytest

ANSWER = b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(
    b"%x\r\n%b\r\n" % (len(piece), piece)
    for piece in (b'data: {"content":"a"}\n\n', b'data: {"content":"b"}\n\n', b'data: {"tokens_predicted":2}\n\n', b"")
)
FAILED = ANSWER.replace(b'"tokens_predicted":2', b'"error":123456789012')


def stream_of(*pieces: bytes) -> load_client.Stream:
    with socket.socket() as connection:
        stream = load_client.Stream(connection, b"")
        for number, piece in enumerate(pieces):
            stream.take(piece, float(number))
    return stream


@pytest.mark.parametrize("cut", range(len(ANSWER)))
def test_events_are_counted_wherever_an_answer_is_cut(cut: int) -> None:
    stream = stream_of(ANSWER[:cut], ANSWER[cut:])
    assert len(stream.arrivals) == 3
    assert stream.events()[-1] == {"tokens_predicted": 2}


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 Busy\r\n\r\n{}", FAILED])
def test_an_error_is_no_figure(answer: bytes) -> None:
    with pytest.raises(OSError, match="the server answered"):
        stream_of(answer).events()


def test_prompts_differ_between_turns_and_share_what_they_say_they_share() -> None:
    def prompts(prompts: str, turn: int) -> list[bytes]:
        case = load.Case("storyteller", 3, prompts, 20, 5)
        return [body.partition(b"[")[2].partition(b"]")[0] for body in load.bodies(case, turn, 2048)]

    shared = [ids.split(b", ") for ids in prompts("shared", 0)]
    assert [len(ids) for ids in shared] == [20, 20, 20]
    assert shared[0][:12] == shared[1][:12] == shared[2][:12]
    assert shared[0][12:] != shared[1][12:]
    assert prompts("shared", 0) != prompts("shared", 1)
    unshared = prompts("unshared", 0)
    assert len({ids.split(b", ")[0] for ids in unshared}) == 3


def test_quantiles() -> None:
    values = [float(number) for number in range(1, 17)]
    assert [load.quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [8, 16, 16, 16]
    assert load.quantile([7.0], 0.5) == 7


def test_a_row_of_a_real_server(tmp_path: Path) -> None:
    results = tmp_path / "load.csv"
    asked = ["storyteller", "--streams", "2", "--prompt", "20", "--generate", "5", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, load.__file__, *asked, "--results", str(results)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with results.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["streams"], row["prompts"], row["generated_tokens"]) == ("2", "unshared", "5")
    assert float(row["pacos_rate"]) > 0
    assert 0 < float(row["pacos_ttft_p50"]) <= float(row["pacos_ttft_p95"])
    assert row["llama_server_rate"] == row["rate_ratio"] == ""
