"""Conversations of `pacos chat` that are kept and gone on with; single answers, JSON, and a context that fills."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
from commands import PROGRAM, environment, here
from patience import SECONDS, until

from pacos.sessions import Message, Sessions

GREEDY = ("--temp", "0", "-n", "6")
DRAGON, CAT = "Tell me a story about a dragon.", "Tell me a story about a cat."


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Conversations of each test's own."""
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    return tmp_path


def titles() -> list[str]:
    with Sessions() as sessions:
        return [one.title for one in sessions.list()]


def latest() -> tuple[Message, ...]:
    with Sessions() as sessions:
        found = sessions.latest()
        return sessions.path(found.id) if found is not None else ()


def test_a_conversation_goes_on_with_all_that_it_had() -> None:
    first = here("chat", *GREEDY, "--system", "Be kind.", "--template", "vicuna", stdin=f"{DRAGON}\n")
    assert first.code == 0
    whole = here("chat", *GREEDY, "--system", "Be kind.", "--template", "vicuna", stdin=f"{DRAGON}\n{CAT}\n").out
    with Sessions() as sessions:
        sessions.delete(sessions.list()[0].id)
    done = here("chat", "--continue", stdin=f"{CAT}\n/params\n")
    assert first.out + done.out == whole
    assert "going on with 'Tell me a story about a dragon.': 1 question" in done.err
    for words in ("template vicuna", "system Be kind.", "n_predict 6"):
        assert words in " ".join(done.err.split())
    assert [one.role for one in latest()] == ["user", "assistant"] * 2
    changed = here("chat", "--continue", "--system", "", "-n", "2", stdin="/params\n").err
    assert "Be kind" not in changed
    assert "n_predict  2" in changed


def test_names() -> None:
    done = here(
        "chat", *GREEDY, stdin=f"{DRAGON}\n/save Dragons\n/clear\n{CAT}\n/save dragons\n/rename Cats\n/sessions\n"
    )
    assert "kept as 'Dragons'" in done.err
    assert "there is a conversation 'dragons'" in done.err
    assert "* Cats" in done.err
    assert "  Dragons" in done.err
    assert titles() == ["Cats", "Dragons"]
    done = here("chat", *GREEDY, stdin=f"/load dragons\n{CAT}\n/delete\n/sessions\n/delete cats\n/sessions\n")
    assert "going on with 'Dragons': 1 question" in done.err
    assert "removed 'Dragons'" in done.err
    assert done.err.endswith("removed 'Cats'\nnothing is kept yet\n")
    assert titles() == []
    assert "no conversation 'Cats'" in here("chat", "--resume", "Cats").err
    assert "there is no conversation to go on with" in here("chat", "--continue").err


def test_resume_takes_a_name_or_the_latest() -> None:
    here("chat", *GREEDY, stdin=f"{DRAGON}\n/save one\n/clear\n{CAT}\n/save two\n")
    assert "going on with 'one'" in here("chat", "--resume", "one", stdin="").err
    assert "going on with 'two'" in here("chat", "--resume", stdin="").err
    assert "going on with 'two'" in here("chat", "storyteller", "--continue", stdin="").err
    assert "both given" in here("chat", "--continue", "--resume", "one").err


def test_nothing_is_kept_when_nothing_shall_be(home: Path) -> None:
    done = here("chat", "--no-save", *GREEDY, stdin=f"{DRAGON}\n")
    assert (done.code, done.err) == (0, "")
    assert [path for path in home.rglob("*") if path.is_file()] == []
    done = here("chat", "--no-save", *GREEDY, stdin=f"{DRAGON}\n/save Kept\n{CAT}\n")
    assert [one.content for one in latest()][::2] == [DRAGON, CAT]
    assert titles() == ["Kept"]


def test_two_talks_in_one_conversation_become_branches() -> None:
    here("chat", *GREEDY, stdin=f"{DRAGON}\n")
    talks = [
        subprocess.Popen(
            [*PROGRAM, "chat", "--continue", *GREEDY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for _ in range(2)
    ]
    for talk in talks:
        assert talk.stderr is not None
        assert "going on with" in talk.stderr.readline()  # both have read what was said before
    outputs = [talk.communicate(f"{CAT}\nGo on.\n", timeout=SECONDS) for talk in talks]
    assert [talk.returncode for talk in talks] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert [one.role for one in latest()] == ["user", "assistant"] * 3
    with Sessions() as sessions:
        (talk,) = sessions.list()
        assert talk.message_count == 2 + 4 + 4


@pytest.mark.parametrize(
    ("change", "told", "kept"),
    [
        ("DROP TABLE messages", "is damaged: it is kept as", 4),
        ("CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END", "was not saved", 0),
    ],
)
def test_a_file_that_another_program_changed_does_not_end_a_talk(change: str, told: str, kept: int) -> None:
    with Sessions() as sessions:
        file = sessions.file
    with sqlite3.connect(file) as other:
        other.execute(change)
    done = here("chat", *GREEDY, stdin=f"{DRAGON}\n{CAT}\n")
    assert done.code == 0
    assert done.out.count("\n") == 2
    assert told in done.err
    assert len(latest()) == kept


def test_one_answer() -> None:
    done = here("chat", *GREEDY, "-p", DRAGON, stdin="not read\n")
    assert (done.code, done.err) == (0, "")
    assert done.out == here("chat", *GREEDY, "-p", "-", stdin=f"{DRAGON}\n").out
    assert done.out == here("chat", "-m", "storyteller", *GREEDY, "-q", stdin=f"{DRAGON}\n").out
    assert here("chat", "storyteller", "-m", "storyteller").code == 2
    assert here("chat", "-p", " ").code == 2
    assert here("chat", "").code == 2
    failed = here("chat", "-p", "word " * 3000)
    assert (failed.code, failed.out) == (2, "")
    assert "do not fit a context of 1024" in failed.err


def test_answers_as_json() -> None:
    done = here("chat", *GREEDY, "--json", stdin=f"{DRAGON}\n/undo\n{'word ' * 3000}\n{CAT}\n")
    first, second = map(json.loads, done.out.splitlines())
    assert first["response"] == here("chat", *GREEDY, "-p", DRAGON).out.rstrip("\n")
    assert (first["prompt_tokens"], first["response_tokens"], first["finish_reason"]) == (20, 6, "length")
    assert first["tokens_per_sec"] > 0
    assert first["generation_time_sec"] > 0
    assert second["model"] == "storyteller"
    assert second["conversation"]
    assert "do not fit" in done.err


def test_a_context_that_fills_is_told_and_older_text_left_out() -> None:
    turns = "".join(f"Tell me a story about a cat number {i}.\n" for i in range(8))
    done = here("chat", "--temp", "0", "-n", "40", "-c", "256", stdin=f"{turns}/tokens\n")
    assert done.out.count("\n") >= 8
    assert "error" not in done.err
    assert "the context of 256 tokens is full: the oldest" in done.err
    assert "(not shown to the model)" in done.err
    assert len(latest()) == 16  # all of it is kept
    shifted = here("chat", "--temp", "0", "-n", "40", "-c", "256", "--context-policy", "shift", stdin=turns)
    assert "is full: the oldest" not in shifted.err
    assert shifted.out.count("\n") >= 8


def test_a_closed_standard_output_is_an_error_and_no_fault() -> None:
    script = f"exec {PROGRAM[0]} -m pacos chat -n 3 -p Hi >&-"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment(), timeout=SECONDS)
    assert done.returncode != 0
    assert "standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr
    reader = f"{PROGRAM[0]} -m pacos chat -n 3 -p Hi | true"
    done = subprocess.run(["sh", "-c", reader], capture_output=True, text=True, env=environment(), timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_file_is_for_this_user_alone() -> None:
    here("chat", *GREEDY, stdin=f"{DRAGON}\n")
    with Sessions() as sessions:
        assert os.stat(sessions.file).st_mode & 0o077 == 0


def test_what_was_computed_outlives_the_program(home: Path) -> None:
    long = "Tell me a story about a dragon and a cat and a dog and a bird. " * 12
    here("chat", *GREEDY, stdin=f"{long}\n")
    done = here("chat", "--continue", "--json", stdin=f"{CAT}\n")
    timings = json.loads(done.out)["timings"]
    assert timings["cached_tokens"] > 150
    assert timings["prompt_tokens"] - timings["cached_tokens"] < 100
    for page in (home / "state" / "computed").iterdir():
        data = bytearray(page.read_bytes())
        data[-1] ^= 1
        page.write_bytes(data)
    again = here("chat", "--continue", stdin="/undo\n" + CAT + "\n")
    assert again.out.rstrip("\n") == json.loads(done.out)["response"]  # damaged pages are computed anew


def test_files_of_what_was_computed(home: Path) -> None:
    file = home / "kept.kv"
    here("chat", *GREEDY, "--persist-session", file, stdin=f"{DRAGON}\n")
    assert file.stat().st_size > 10_000
    done = here("chat", "--continue", "--no-save", "--load-session", file, "--json", stdin=f"{CAT}\n")
    timings = json.loads(done.out)["timings"]
    assert timings["prompt_tokens"] - timings["cached_tokens"] < 30
    assert len(latest()) == 2  # --no-save keeps what goes on out of it, too
    file.write_bytes(file.read_bytes()[:-1])
    damaged = here("chat", "--continue", "--no-save", "--load-session", file, stdin=f"{CAT}\n")
    assert "is damaged" in damaged.err
    assert damaged.out.rstrip("\n") == json.loads(done.out)["response"]


def test_a_conversation_is_computed_while_the_next_question_is_typed() -> None:
    import pacos
    from pacos.cli.talk.keeping import Exchange, Keeper
    from pacos.cli.talk.talk import ANSWER_OPTIONS, Talk

    options = {name: one.default for name, one in ANSWER_OPTIONS.items()}
    with pacos.load() as llm, Sessions() as sessions:
        talk = Talk(
            llm, "storyteller", Keeper(lambda: sessions, off=True), options=options, opener=lambda *_: pacos.load()
        )
        talk.exchanges = [Exchange(DRAGON * 10, answer=CAT * 10)]
        talk.compute_ahead()
        until(lambda: llm.engine.statistics().tokens_computed > 150)
        talk.ask(CAT)
        with talk.stream() as stream:
            *_, last = stream
    assert last.timings is not None
    assert last.timings.prompt_tokens - last.timings.cached_tokens < 30
