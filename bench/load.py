"""Race `pacos serve` against llama-server under load: many streams at once, on the same file and threads, in turns.

Every stream is a POST /completion of token ids, streamed, with a fixed number of tokens to generate; all are sent at
once. `shared` prompts are alike but for their last tokens, `unshared` ones differ from the first. No prompt was seen
before. A row per case goes to bench/results/<machine>-load.csv.

    python bench/load.py --peer-server PATH/llama-server --suite
    python bench/load.py storyteller --streams 64 --prompt 32 --generate 100 --prompts shared

Units: tokens per second of all streams together, from the first request to the last answer's end, prompts' time
included; times to first token (`ttft`) and gaps between a stream's tokens in seconds; `loop_us` is processor time of
Pacos' event loop, everything between the engine and the sockets, in microseconds a generated token.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import load_client
import load_servers
import race_runs

OWN_TOKENS = 8  # that end a shared prompt
MEASURES = ("rate", "ttft_p50", "ttft_p95", "gap_p99")
CONTENDERS = ("pacos", "llama_server")
CASE_FIELDS = ("model", "streams", "prompts", "prompt_tokens", "generated_tokens")
FIELDS = (
    *("date", "commit", "machine", "threads", *CASE_FIELDS),
    *(f"{name}_{measure}" for measure in MEASURES for name in CONTENDERS),
    *("rate_ratio", "ttft_p95_ratio", "pacos_loop_us", "rounds", "others_cpu"),
)


@dataclass(frozen=True)
class Case:
    """So many streams on a model, each with a prompt and an answer of so many tokens."""

    model: str
    streams: int
    prompts: str
    prompt_tokens: int
    generated_tokens: int

    @property
    def key(self) -> str:
        """How it is named in output."""
        return f"{self.model} x{self.streams} {self.prompts} {self.prompt_tokens}+{self.generated_tokens}"


def suite() -> list[Case]:
    """The cases of the issue; counts are such that a turn of a contender takes some 30 seconds at most."""
    found = []
    for prompts in ("shared", "unshared"):
        found += [Case("storyteller", streams, prompts, 64, 128) for streams in (1, 4, 16, 64)]
        found += [Case("Q4_K_M", streams, prompts, 128, 24) for streams in (1, 4, 16)]
        found += [Case("Q4_K_M", 64, prompts, 32, 12)]
    return found


def bodies(case: Case, turn: int, vocabulary: int) -> list[bytes]:
    """Requests of one turn; every contender gets the same, and no turn repeats another's prompts."""
    draw = random.Random(f"{case.key} {turn}")

    def ids(count: int) -> list[int]:
        return [draw.randrange(vocabulary // 2, vocabulary) for _ in range(count)]

    common = ids(case.prompt_tokens - OWN_TOKENS) if case.prompts == "shared" else []
    requests = []
    for number in range(case.streams):
        asked = {"n_predict": case.generated_tokens, "ignore_eos": True, "stream": True, "seed": number}
        prompt = common + ids(case.prompt_tokens - len(common))
        requests.append(load_client.request_bytes("/completion", {"prompt": prompt, **asked}))
    return requests


def measured(streams: Sequence[load_client.Stream], case: Case) -> dict[str, float]:
    """What a turn showed. Errors: OSError when a stream did not get all its tokens."""
    for stream in streams:
        made = stream.events()[-1]["tokens_predicted"]
        if made != case.generated_tokens:
            raise OSError(f"a stream got {made} of {case.generated_tokens} tokens")
    firsts = sorted(stream.arrivals[0] for stream in streams)
    gaps = sorted(after - before for stream in streams for before, after in pairwise(stream.arrivals[:-1]))
    return {
        "rate": case.streams * case.generated_tokens / max(stream.ended for stream in streams),
        "ttft_p50": quantile(firsts, 0.5),
        "ttft_p95": quantile(firsts, 0.95),
        "gap_p99": quantile(gaps, 0.99),
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that so large a share of the ordered ones does not exceed; 0 where there is none.

    There is no gap between tokens that all came at once.
    """
    if not ordered:
        return 0.0
    return ordered[max(0, -(-round(len(ordered) * share * 1e6) // 1_000_000) - 1)]


def run_case(case: Case, path: Path, options: argparse.Namespace) -> dict[str, object]:
    """Both servers started once, then turns of one after another."""
    found: dict[str, list[dict[str, float]]] = {}
    tokens = case.prompt_tokens + case.generated_tokens
    disturbed = []
    with ExitStack() as stack:
        ports, processes, loop = {}, {}, 0.0
        for name, command in commands(path, case, tokens, options):
            ports[name] = int(command[command.index("--port") + 1])
            processes[name] = stack.enter_context(load_servers.running(command, ports[name])).pid
            warm = Case(case.model, 1, "unshared", 8, 4)
            load_client.run(ports[name], bodies(warm, 0, options.vocabulary), options.limit)
        for turn in range(options.rounds):
            for name, port in ports.items():
                disturbed += [used for used in (race_runs.calm(),) if used is not None]
                before = load_servers.first_thread_seconds(processes[name])
                streams = load_client.run(port, bodies(case, turn, options.vocabulary), options.limit)
                if name == "pacos":
                    loop += load_servers.first_thread_seconds(processes[name]) - before
                found.setdefault(name, []).append(measured(streams, case))
                shown = ", ".join(f"{key} {value:.4g}" for key, value in found[name][-1].items())
                print(f"{case.key} turn {turn + 1} {name}: {shown}", file=sys.stderr)
    spent = 1e6 * loop / (options.rounds * case.streams * case.generated_tokens)
    line = row(case, path, options, found, max(disturbed, default=0.0))
    return line | {"pacos_loop_us": round(spent, 1) or ""}


def commands(path: Path, case: Case, tokens: int, options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Each contender's name and command."""
    if options.peer_only is False:
        yield "pacos", load_servers.pacos(path, load_servers.free_port(), options.threads)
    if options.peer_server is not None:
        where = (options.peer_server, path, load_servers.free_port(), options.threads)
        yield "llama_server", load_servers.llama_server(*where, case.streams, tokens)


def row(
    case: Case, path: Path, options: argparse.Namespace, found: dict[str, list[dict[str, float]]], disturbed: float
) -> dict[str, object]:
    """A line of the file: medians of the turns; of times, less is better."""
    line: dict[str, object] = dict.fromkeys(FIELDS, "")
    medians = {
        (name, measure): statistics.median(one[measure] for one in turns)
        for name, turns in found.items()
        for measure in MEASURES
    }
    line |= {f"{name}_{measure}": f"{value:.4g}" for (name, measure), value in medians.items()}
    if len(found) == len(CONTENDERS):
        line["rate_ratio"] = round(medians["pacos", "rate"] / medians["llama_server", "rate"], 2)
        line["ttft_p95_ratio"] = round(medians["pacos", "ttft_p95"] / medians["llama_server", "ttft_p95"], 2)
    return line | {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "commit": race_runs.commit(),
        "machine": race_runs.machine(),
        "threads": options.threads,
        "model": path.name,
        **{name: getattr(case, name) for name in CASE_FIELDS[1:]},
        "rounds": options.rounds,
        "others_cpu": round(disturbed, 2),
    }


def append(path: Path, line: dict[str, object]) -> None:
    """Add a row at once."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)


def main() -> None:
    """Parse, race, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="storyteller", help="a GGUF file, or a type of random 1B models")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--generate", type=int, default=128, help="tokens of each answer")
    parser.add_argument("--prompts", choices=("shared", "unshared"), default="unshared")
    parser.add_argument("--vocabulary", type=int, default=2048, help="prompts' tokens are drawn below this")
    parser.add_argument("--suite", action="store_true", help="the issue's cases instead, about 15 minutes")
    parser.add_argument("--rounds", type=int, default=2, help="turns that each server gets")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--peer-server", type=Path, help="the llama-server to race")
    parser.add_argument("--peer-only", action="store_true", help="leave Pacos out")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="of one turn")
    parser.add_argument("--models", dest="folder", type=Path, default=race_runs.ROOT / "build" / "cache")
    parser.add_argument("--results", type=Path, help="the CSV; default bench/results/<machine>-load.csv")
    options = parser.parse_args()
    results = options.results or race_runs.ROOT / "bench" / "results" / f"{race_runs.machine()}-load.csv"
    one = Case(options.model, options.streams, options.prompts, options.prompt, options.generate)
    for case in suite() if options.suite else [one]:
        model = race_runs.model_path(case.model, options.folder, options.limit)
        race_runs.read_through(model)
        line = run_case(case, model, options)
        append(results, line)
        print({key: value for key, value in line.items() if value != ""}, flush=True)


if __name__ == "__main__":
    main()
