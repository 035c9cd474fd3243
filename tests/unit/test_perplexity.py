"""Perplexity with divergence and tasks: llama.cpp's methods, files and numbers."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import STORYTELLER, here

from pacos.errors import FormatError, UsageError
from pacos.formats.logits import LogitsFile, packed, unpacked
from pacos.hub.quantize import quantize_file
from pacos.llm import LLM, load
from pacos.llm.divergence import Divergence
from pacos.llm.tasks import Tally, Task, _mersenne, read_tasks, solve

TEXT = "Once upon a time there was a little dog. He wanted to see the moon, but it was far away. " * 20
NAMES = ("Tom", "Lily", "Ben", "Mia", "Sam", "Anna")
THINGS = ("a ball", "a big red car", "his mom", "the dog", "some cake", "a tall tree")
TAILS = (
    "was very sad and cried all day.",
    "went home with mom.",
    "got it from his dad.",
    "liked the cake a lot so mom smiled.",
)


def hellaswag(count: int) -> bytes:
    draw, lines = random.Random(3), list[str]()
    for _ in range(count):
        name = draw.choice(NAMES)
        lines += [f"Story: {name} was happy. {name} wanted to play with", str(draw.randrange(4))]
        lines += [f"{thing} and went home." for thing in draw.sample(THINGS, 4)]
    return "".join(f"{line}\n" for line in lines).encode()


def winogrande(count: int) -> bytes:
    draw, lines = random.Random(4), list[str]()
    for i in range(count):
        one, other = draw.sample(NAMES, 2)
        sentence = f"{one} gave the ball to {other} because _ {draw.choice(TAILS)}"
        if i % 3 == 0:
            sentence = f'"{one}, who is big, helped {other} but _ {draw.choice(TAILS)}"'
        lines.append(f"{i},{sentence},{one},{other},{draw.randrange(1, 3)}\n")
    return "".join(lines).encode()


def multiple_choice(count: int) -> bytes:
    draw, tasks = random.Random(5), list[bytes]()

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    for _ in range(count):
        answers = draw.sample(THINGS, draw.randrange(2, 6))
        labels = [0] * len(answers)
        labels[draw.randrange(len(answers))] = 1
        choices = struct.pack("<I", len(answers)) + b"".join(map(text, answers))
        tasks.append(text(f"{draw.choice(NAMES)} saw") + choices + struct.pack(f"<{len(labels)}i", *labels) + bytes(4))
    starts = [4 + 4 * count + sum(map(len, tasks[:i])) for i in range(count)]
    return struct.pack(f"<{count + 1}I", count, *starts) + b"".join(tasks)


MAKERS = {"hellaswag": hellaswag, "winogrande": winogrande, "multiple-choice": multiple_choice}


@pytest.fixture(scope="module")
def llm() -> Any:
    with load(STORYTELLER, ctx_size=256, parallel=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perplexity") / "small.gguf"
    quantize_file(STORYTELLER, path, "Q4_0")
    return path


def test_rows_are_packed_as_llama_cpp_does() -> None:
    row = np.array([[0.0, -4.0, -30.0]], np.float32)
    scale, least = np.float32(16 / 65535), np.float32(-16 - math.log(1 + math.exp(-4) + math.exp(-30)))
    assert packed(row).tobytes() == struct.pack("<ff4H", scale, least, 65535, round(12 / 16 * 65535), 0, 0)
    rows = np.random.default_rng(1).normal(size=(5, 301)).astype(np.float32) * 3
    wanted = rows - np.log(np.exp(rows.astype(np.float64)).sum(axis=1, keepdims=True))
    wanted = np.maximum(wanted, wanted.max(axis=1, keepdims=True) - 16)
    found = unpacked(packed(rows), 301)
    assert np.abs(found - wanted).max() < 16 / 65535
    flat = unpacked(packed(np.zeros((1, 4), np.float32)), 4)
    assert flat == pytest.approx(np.full((1, 4), math.log(0.25)))


def test_divergence_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(2)
    base, other = rng.normal(size=(2, 40, 50)).astype(np.float32) * 2
    tokens = rng.integers(0, 50, 40).tolist()
    p, q = (np.exp(rows.astype(np.float64)) for rows in (base, other))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    found = Divergence()
    for part in (slice(0, 13), slice(13, 40)):
        found.add(other[part], np.log(p[part]).astype(np.float32), tokens[part])
    figures = found.figures()
    each = (p * np.log(p / q)).sum(axis=1)
    places = np.arange(40), np.array(tokens)
    changes = q[places] - p[places]
    assert figures["tokens"] == 40
    assert figures["divergence"] == pytest.approx([each.mean(), each.std() / math.sqrt(39)], rel=1e-4)
    assert figures["divergence_quantiles"]["maximum"] == pytest.approx(each.max(), rel=1e-4)
    assert figures["divergence_quantiles"]["90.0%"] == pytest.approx(np.quantile(each, 0.9), rel=1e-4)
    assert figures["perplexity"][0] == pytest.approx(math.exp(-np.log(q[places]).mean()), rel=1e-4)
    assert figures["base_perplexity"][0] == pytest.approx(math.exp(-np.log(p[places]).mean()), rel=1e-4)
    ratios = np.log(p[places] / q[places])
    assert figures["log_ratio"] == pytest.approx([ratios.mean(), ratios.std() / math.sqrt(39)], rel=1e-3)
    assert figures["change_rms"][0] == pytest.approx(math.sqrt(np.square(changes).mean()), rel=1e-4)
    assert figures["same_top"][0] == pytest.approx((p.argmax(axis=1) == q.argmax(axis=1)).mean())
    correlation = np.corrcoef(np.log(p[places]), np.log(q[places]))[0, 1]
    assert figures["correlation"] == pytest.approx(correlation, rel=1e-3)


def test_a_base_is_saved_and_compared_with(small: Path, llm: LLM, tmp_path: Path) -> None:
    base = tmp_path / "base"
    saved = here("perplexity", STORYTELLER, "-f", "-", "-c", 64, "--json", "--kl-divergence-base", base, stdin=TEXT)
    assert saved.code == 0, saved.err
    plain = here("perplexity", STORYTELLER, "-f", "-", "-c", 64, "--json", stdin=TEXT).data
    assert saved.data == pytest.approx(plain)
    with LogitsFile(base) as file:
        assert (file.chunk_tokens, file.vocabulary, file.count) == (64, llm.engine.vocab_size, plain["chunks"])
        wanted = llm.tokenize(TEXT)[64:128]
        assert file.tokens(1) == wanted
        rows = llm.logits([llm.tokenizer.bos or 0, *wanted[1:]] if llm.tokenizer.add_bos else wanted)[32:63]
        own = rows - np.log(np.exp(rows.astype(np.float64)).sum(axis=1, keepdims=True))
        assert np.abs(np.maximum(own, own.max(axis=1, keepdims=True) - 16) - file.log_probabilities(1)).max() < 3e-4
    given = ("--kl-divergence", "--kl-divergence-base", base, "--json")
    same, other = (here("perplexity", path, *given).data["models"][0] for path in (STORYTELLER, small))
    assert same["divergence"][0] < 1e-5
    assert same["same_top"][0] > 0.99
    assert same["perplexity"][0] == pytest.approx(plain["perplexity"], rel=1e-5)
    assert other["divergence"][0] > 0.001
    assert other["base_perplexity"][0] == pytest.approx(plain["perplexity"], rel=1e-2)
    assert "needs --kl-divergence-base" in here("perplexity", small, given[0]).err
    printed = here("perplexity", small, *given[:3]).out
    assert "99.9% divergence" in printed
    assert here("perplexity", STORYTELLER, "-f", "-", "--kl-divergence-base", base, stdin=TEXT).code == 2


def test_quantizations_are_compared_with_the_first(small: Path) -> None:
    done = here("perplexity", STORYTELLER, small, "-f", "-", "-c", 64, "--chunks", 3, "--json", stdin=TEXT)
    assert done.code == 0, done.err
    first, second = done.data["models"]
    assert (first["base"], second["base"]) == (True, False)
    assert first["bytes"] > second["bytes"]
    assert second["tokens"] == 3 * 31
    table = here("perplexity", STORYTELLER, small, "-f", "-", "-c", 64, "--chunks", 3, stdin=TEXT).out
    assert [line.split()[0] for line in table.splitlines()] == ["model", "storyteller.gguf", "small.gguf"]


def test_the_picture_has_a_point_a_model(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="comes with the extra [plot]")
    picture = tmp_path / "sizes.png"
    done = here(*("perplexity", STORYTELLER, small, "-f", "-", "-c", 64, "--chunks", 2, "--plot", picture), stdin=TEXT)
    assert done.code == 0, done.err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_window_slides(llm: LLM) -> None:
    done = here(
        "perplexity", STORYTELLER, "-f", "-", "-c", 192, "--ppl-stride", 64, "--chunks", 2, "--json", stdin=TEXT
    )
    assert done.code == 0, done.err
    tokens = llm.tokenize(TEXT)
    scores = [score for i in range(2) for score in llm.log_probabilities(tokens[64 * i : 64 * i + 256], first=256 - 65)]
    assert len(scores) == done.data["tokens_scored"] == 128
    assert done.data["mean_nll"] == pytest.approx(-sum(scores) / 128)


def test_damaged_files_of_log_probabilities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "base"
    head = b"_logits_" + struct.pack("<iii", 8, 5, 1)
    whole = head + bytes(4 * 8) + bytes(3 * 10 * 2)
    wrong = [whole[:5], whole[:30], whole[:-1], b"x" * 200, head[:8] + struct.pack("<iii", 8, 5, 1 << 30) + whole[20:]]
    for data in wrong:
        path.write_bytes(data)
        with pytest.raises(FormatError):
            LogitsFile(path)
    path.write_bytes(head + struct.pack("<8i", *range(8)) + whole[52:])
    with LogitsFile(path) as file, pytest.raises(UsageError, match="not one of 5"):
        file.tokens(0)


# llama-perplexity of llama.cpp (llama-cpp-python 0.3.36) on the bundled model; its Winogrande skips a last line.
@pytest.mark.parametrize(
    ("kind", "count", "most", "solved"),
    [
        *(("hellaswag", 24, 0, 8), ("hellaswag", 24, 9, 2)),
        *(("winogrande", 24, 0, 12), ("winogrande", 24, 11, 6)),
        *(("multiple-choice", 24, 0, 6), ("multiple-choice", 24, 11, 3)),
    ],
)
def test_tasks_are_solved_as_by_llama_cpp(kind: str, count: int, most: int, solved: int, llm: LLM) -> None:
    tasks = read_tasks(kind, MAKERS[kind](count), most)
    tally = solve(llm, tasks, lambda tally: None)
    assert (tally.done, tally.solved) == (most or count, solved)


def test_numbers_are_those_of_the_standard_generator() -> None:
    draw = _mersenne(1)
    assert [draw() for _ in range(5)] == [1791095845, 4282876139, 3093770124, 4005303368, 491263]


def test_an_answer_is_scored_by_the_mean_of_its_tokens(llm: LLM) -> None:
    texts = ("The dog saw a cat", "The dog saw the big house on the hill")
    rows = []
    for text in texts:
        tokens = llm.tokenize(text)
        logits = llm.logits(tokens).astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        first = len(llm.tokenize("The dog saw"))
        rows.append(np.mean([logs[i - 1, tokens[i]] for i in range(first, len(tokens))]))
    best = int(rows[1] > rows[0])
    assert solve(llm, [Task(texts, frozenset((best,)))], lambda tally: None).solved == 1
    assert solve(llm, [Task(texts, frozenset((1 - best,)))], lambda tally: None).solved == 0


def test_the_interval_is_wilsons() -> None:
    low, high = Tally(done=60, solved=17, answers=240).interval()
    assert (round(100 * low, 4), round(100 * high, 4)) == (18.5068, 40.7673)  # as llama-perplexity prints it


def test_tasks_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.txt"
    path.write_bytes(hellaswag(4))
    done = here("perplexity", STORYTELLER, "-f", path, "--hellaswag", "--json")
    assert done.code == 0, done.err
    assert (done.data["kind"], done.data["models"][0]["tasks"]) == ("hellaswag", 4)
    assert done.data["models"][0]["chance"] == 0.25
    assert "accuracy" in here("perplexity", STORYTELLER, "-f", path, "--hellaswag", "--hellaswag-tasks", 2).out


@pytest.mark.parametrize(
    ("given", "data", "message"),
    [
        (("--hellaswag",), b"one\ntwo\n", "no multiple of 6"),
        (("--hellaswag",), b"context\n7\na\nb\nc\nd\n", "0 to 3"),
        (("--hellaswag",), b"", "no tasks"),
        (("--winogrande",), b"0,no gap here,Tom,Ben,1\n", "line 1 is no task"),
        (("--multiple-choice",), b"\xff\xff\xff\xff1234", "is it a file of tasks"),
        (("--multiple-choice",), multiple_choice(3)[:-9], "ends in the middle"),
        (("--hellaswag", "--winogrande"), b"", "exclude each other"),
        (("--hellaswag", "--ppl-stride", "3"), b"", "--ppl-stride has no effect"),
        (("--kl-divergence",), b"", "--file has no effect with --kl-divergence"),
        (("--chunks", "0"), b"", "--chunks is 0"),
        (("--winogrande-tasks", "3"), b"", "has no effect"),
        (("--ppl-stride", "64"), TEXT[:100].encode(), "tokens are too few"),
    ],
)
def test_what_makes_no_sense_is_refused(given: tuple[str, ...], data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "tasks").write_bytes(data)
    done = here("perplexity", STORYTELLER, "-f", tmp_path / "tasks", *given)
    assert done.code in (2, 3), done.err
    assert message in done.err
