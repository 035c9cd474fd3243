"""Score a model on tasks with several answers, of which it must find one the likeliest: HellaSwag, Winogrande, others.

Source: llama.cpp, tools/perplexity; its files, its selection of tasks and its scores. One thing differs: of short
Winogrande endings it scores the second one's first token by what belongs to the first one.
"""

from __future__ import annotations

import csv
import io
import math
import random
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pacos.errors import FormatError, UsageError
from pacos.formats.wording import shown
from pacos.llm import LLM
from pacos.llm.perplexity import text_scores

KINDS = ("hellaswag", "winogrande", "multiple-choice")
_HELLASWAG_LINES, _ENDINGS = 6, 4
_ANSWERS_MAX = 100
_TRAILING = 3  # tokens: with more, Winogrande's choice itself does not count
_NORMAL_95 = 1.95996398454
_WORDS, _MASK = 624, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Task:
    """Texts that could be, and which are right; of Winogrande `heads` are the texts up to the choice's end."""

    texts: tuple[str, ...]
    right: frozenset[int]
    heads: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """Tasks done and solved; `answers` of all of them."""

    done: int = 0
    solved: int = 0
    answers: int = 0

    @property
    def accuracy(self) -> float:
        """The share of tasks solved, 0 to 1."""
        return self.solved / max(1, self.done)

    @property
    def error(self) -> float:
        """Its standard error."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / max(1, self.done - 1))

    @property
    def chance(self) -> float:
        """The share that guessing would solve."""
        return self.done / max(1, self.answers)

    def interval(self) -> tuple[float, float]:
        """Between what the accuracy lies by 95 % (Wilson's score)."""
        count, share = max(1, self.done), self.accuracy
        z = _NORMAL_95**2 / count
        half = z * math.sqrt(count * (4 * share * (1 - share) + z)) / (2 * _NORMAL_95)
        return (share + z / 2 - half) / (1 + z), (share + z / 2 + half) / (1 + z)


def read_tasks(kind: str, data: bytes, most: int = 0) -> list[Task]:
    """The tasks of a file, or `most` of them, chosen as llama.cpp does. Errors: FormatError, UsageError for none."""
    read = {"hellaswag": _hellaswag, "winogrande": _winogrande, "multiple-choice": _multiple_choice}[kind]
    tasks = read(data)
    if not tasks:
        raise UsageError("there are no tasks in the file", hint="`pacos perplexity --help` says what it must hold")
    if kind == "hellaswag":
        return _shuffled(tasks, most or len(tasks))
    return tasks if most == 0 or most >= len(tasks) else _drawn(tasks, most)


def solve(llm: LLM, tasks: Sequence[Task], done: Callable[[Tally], object]) -> Tally:
    """Let a model solve tasks. Errors: ContextFull for a task that is too long."""
    tally = Tally()
    with ThreadPoolExecutor(_ENDINGS) as pool:  # answers of one task are computed together
        for task in tasks:
            scores = list(pool.map(lambda pair: _score(llm, *pair), _spans(llm, task)))
            tally.done += 1
            tally.answers += len(scores)
            best = max(range(len(scores)), key=lambda i: (scores[i], -i))
            if task.heads and scores[0] == scores[1]:
                best = 1  # as llama.cpp
            tally.solved += best in task.right
            done(tally)
    return tally


def _spans(llm: LLM, task: Task) -> list[tuple[list[int], range]]:
    """The tokens of each text, and which of them its score is the mean of."""
    tokens = [llm.tokenize(text) for text in task.texts]
    least = min(map(len, tokens))
    common = next((i for i in range(least) if any(one[i] != tokens[0][i] for one in tokens)), least)
    if common < 1 or any(len(one) <= common for one in tokens):
        raise UsageError(f"{shown(task.texts[0], 60)}: one answer is the beginning of another, or nothing comes before")
    if not task.heads:
        return [(one, range(common, len(one))) for one in tokens]
    late = all(len(one) - common > _TRAILING for one in tokens)
    made = []
    for one, head in zip(tokens, task.heads, strict=True):
        first = len(llm.tokenize(head)) if late else common
        made.append((one, range(first, len(one) - int(len(one) - first > 1))))
    return made


def _score(llm: LLM, tokens: list[int], span: range) -> float:
    scores = text_scores(llm, tokens[: span.stop], span.start - 1, dropped=False)
    return sum(scores) / len(scores)


def _hellaswag(data: bytes) -> list[Task]:
    lines = data.decode("utf-8", "replace").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if len(lines) % _HELLASWAG_LINES:
        raise FormatError(f"{len(lines)} lines are no multiple of {_HELLASWAG_LINES}", hint="six lines make a task")
    tasks = []
    for at in range(0, len(lines), _HELLASWAG_LINES):
        context, gold, *endings = lines[at : at + _HELLASWAG_LINES]
        if gold.strip() not in ("0", "1", "2", "3"):
            raise FormatError(f"line {at + 2} is {shown(gold, 40)}, needed is the right ending's number, 0 to 3")
        tasks.append(Task(tuple(f"{context} {ending}" for ending in endings), frozenset((int(gold),))))
    return tasks


def _winogrande(data: bytes) -> list[Task]:
    tasks = []
    for number, row in enumerate(csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline="")), 1):
        if not row:
            continue
        if len(row) != 5 or "_" not in row[1] or row[4].strip() not in ("1", "2"):
            raise FormatError(
                f"line {number} is no task",
                hint="needed are: number, a sentence with _, two choices, and 1 or 2 for the right one",
            )
        first, _, second = row[1].partition("_")
        texts = tuple(first + choice + second for choice in row[2:4])
        tasks.append(Task(texts, frozenset((int(row[4]) - 1,)), tuple(first + choice for choice in row[2:4])))
    return tasks


def _multiple_choice(data: bytes) -> list[Task]:
    stream = io.BytesIO(data)

    def number() -> int:
        found = stream.read(4)
        if len(found) < 4:
            raise FormatError("the file of tasks ends in the middle of one", hint="is it whole?")
        return int(struct.unpack("<I", found)[0])

    def text() -> str:
        size = number()
        found = stream.read(min(size, len(data)))
        if len(found) < size:
            raise FormatError(f"a text of {size} bytes does not lie in the file of tasks", hint="is it one?")
        return found.decode("utf-8", "replace")

    def answers() -> tuple[list[str], list[int]]:
        count = number()
        if count > _ANSWERS_MAX:
            raise FormatError(f"a task with {count} answers, at most {_ANSWERS_MAX} are possible", hint="is it one?")
        return [text() for _ in range(count)], [number() for _ in range(count)]

    count = number()
    if 4 * count > len(data):
        raise FormatError(f"{count} tasks in {len(data)} bytes", hint="is it a file of tasks?")
    stream.seek(4 * count, io.SEEK_CUR)  # where each begins
    tasks = []
    for i in range(count):
        question = text()
        choices, labels = answers()
        answers()  # of another kind of question, with several right ones
        if not question or not choices or not all(choices):
            raise FormatError(f"task {i} has an empty question or answer")
        right = frozenset(place for place, label in enumerate(labels) if label == 1)
        tasks.append(Task(tuple(f"{question} {choice}" for choice in choices), right))
    return tasks


# ---- choosing tasks ----


def _mersenne(seed: int) -> Callable[[], int]:
    """std::mt19937 of that seed: whole numbers of 32 bits."""
    state = [seed]
    for i in range(1, _WORDS):
        state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + i) & _MASK)
    made = random.Random()  # noqa: S311 - the order of tasks is no secret
    made.setstate((3, (*state, _WORDS), None))
    return lambda: made.getrandbits(32)


def _shuffled(tasks: list[Task], most: int) -> list[Task]:
    """Tasks in an order that the first few stand for all: std::uniform_int_distribution, as GNU's library has it."""
    random32, left, chosen = _mersenne(1), list(tasks), []
    for _ in range(min(most, len(tasks))):
        count = len(left)
        product = random32() * count
        if product & _MASK < count:
            while product & _MASK < (1 << 32) % count:
                product = random32() * count
        chosen.append(left.pop(product >> 32))
    return chosen


def _single(number: float) -> float:
    """Rounded to single precision."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _drawn(tasks: list[Task], most: int) -> list[Task]:
    random32, places, chosen = _mersenne(1), list(range(len(tasks))), []
    for _ in range(most):
        share = _single(_single(random32()) / (1 << 32))
        place = min(int(_single(share * len(places))), len(places) - 1)
        chosen.append(tasks[places[place]])
        places[place] = places[-1]
        places.pop()
    return chosen
