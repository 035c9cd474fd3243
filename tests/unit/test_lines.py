"""Answers that end by their lines, and prompts that tell how far they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import pacos
from pacos.llm.lines import LineLimits
from pacos.types import Event

STORY = "Once upon a time there was a girl who had a dog."


class Given:
    """A decoder that gives the pieces it was made of; a token is its number."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def push(self, tokens: Sequence[int], finish_reason: str | None) -> Event:
        return Event("".join(self.pieces[token] for token in tokens), tuple(tokens), finish_reason)


def read(pieces: Sequence[str], indent: int = 0, seconds: float = 0.0, step: float = 1.0) -> tuple[str, str, int]:
    """The text, the reason, and the pieces that were needed; a second passes between two looks at the clock."""
    times = iter(range(1000))
    limits = LineLimits(Given(pieces), indent, seconds, lambda: next(times) * step)
    text = ""
    for number in range(len(pieces) + 1):
        last = number == len(pieces)
        event = limits.push(() if last else (number,), "stop" if last else None)
        text += event.text
        if event.finish_reason is not None:
            return text, event.finish_reason, number
    raise AssertionError("it never ended")


CODE = "x = 1\n    y = 2\n\tz = 3\n  w = 4\nv = 5\n"

INDENTED = {
    "one piece": ([CODE], 2, "x = 1\n    y = 2\n", 0),
    "a character a piece": (list(CODE), 2, "x = 1\n    y = 2\n", 17),
    "less": (list(CODE), 1, "x = 1\n    y = 2\n\tz = 3\n  w = 4\n", 31),
    "the first line has none of its own": (["v", " = 1\n", "  a"], 2, "v = 1\n  a", 3),
    "an empty line ends it too": (["a\n", "\n  b"], 2, "a\n", 1),
    "blanks at the end are kept": (["a\n", " ", " "], 4, "a\n  ", 3),
    "off": ([CODE], 0, CODE, 1),
}


@pytest.mark.parametrize(("pieces", "indent", "text", "needed"), INDENTED.values(), ids=INDENTED)
def test_indentation(pieces: list[str], indent: int, text: str, needed: int) -> None:
    assert read(pieces, indent) == (text, "length" if needed < len(pieces) else "stop", needed)


def test_late_line_is_the_last() -> None:
    pieces = ["a", "b\n", "c", "d\n", "e"]
    assert read(pieces, seconds=1.5) == ("ab\ncd\n", "length", 3)
    assert read(pieces, seconds=100) == ("ab\ncd\ne", "stop", 5)
    assert read(["a", "b", "c"], seconds=0.5) == ("abc", "stop", 3)


def test_limits_hold_in_a_model() -> None:
    with pacos.load("storyteller") as llm:
        free = llm.generate(STORY, seed=2, n_predict=200)
        lines = free.text.split("\n")
        assert len(lines) > 1, "the test needs an answer of several lines"
        cut = llm.generate(STORY, seed=2, n_predict=200, n_indent=1)
        assert (cut.text, cut.finish_reason) == (lines[0] + "\n", "length")
        late = llm.generate(STORY, seed=2, n_predict=200, t_max_predict_ms=1)
        assert late.finish_reason == "length" and "\n" in late.text and free.text.startswith(late.text)


def test_prompt_tells_how_far_it_is() -> None:
    with pacos.load("storyteller", batch_size=8) as llm:
        prompt = llm.tokenize(STORY)
        whole = list(llm.stream(prompt, n_predict=2, seed=1, return_progress=True))
        told = [event.progress for event in whole if event.progress is not None]
        assert [one.computed_tokens for one in told] == [*range(0, len(prompt), 8), len(prompt)]
        assert {(one.total_tokens, one.cached_tokens) for one in told} == {(len(prompt), 0)}
        assert [one.seconds for one in told] == sorted(one.seconds for one in told)
        assert not any(event.text or event.token_ids or event.finish_reason for event in whole[: len(told)])
        again = [event.progress for event in llm.stream(prompt, n_predict=1, return_progress=True) if event.progress]
        assert again[0].computed_tokens == again[0].cached_tokens > 0
        assert not any(event.progress for event in llm.stream(prompt, n_predict=1))
