"""What outlives an encoder-decoder's process: sources in the prompt cache on disk, and texts in files."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
from commands import Outcome, here
from models import tiny

import pacos
from pacos.errors import FormatError

ANSWER = {"temp": 0, "n_predict": 70, "ignore_eos": True}
START, END = 0, 1
LENGTHS = (1, 63, 64, 65, 130)  # of sources, about the ends of pages of 64


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf("flan-t5", tmp_path_factory.mktemp("flan"))


def opened(path: Path, **more: Any) -> pacos.LLM:
    return pacos.load(path, **{"ctx_size": 512, "threads": 1, **more})


@pytest.fixture(scope="module")
def expected(path: Path) -> dict[int, tuple[int, ...]]:
    with opened(path) as llm:
        return {count: llm.generate(tiny.prompt(count), **ANSWER).token_ids for count in LENGTHS}


def test_a_source_is_read_once_for_all_processes(
    path: Path, expected: dict[int, tuple[int, ...]], tmp_path: Path
) -> None:
    for _ in range(2):
        with opened(path, prompt_cache_dir=str(tmp_path)) as llm:
            answers = {count: llm.generate(tiny.prompt(count), **ANSWER) for count in LENGTHS}
            assert {count: one.token_ids for count, one in answers.items()} == expected
    assert {count: one.timings.cached_tokens for count, one in answers.items()} == {count: count for count in LENGTHS}
    with opened(path, prompt_cache_dir=str(tmp_path)) as llm:
        other = llm.generate(tiny.prompt(130)[:129], **ANSWER)
        salted = llm.generate(tiny.prompt(130), cache_salt="another", **ANSWER)
    assert (other.timings.cached_tokens, salted.timings.cached_tokens) == (0, 0)
    assert salted.token_ids == expected[130]


def test_a_source_whose_last_page_is_gone_is_read_again(
    path: Path, expected: dict[int, tuple[int, ...]], tmp_path: Path
) -> None:
    with opened(path, prompt_cache_dir=str(tmp_path)) as llm:
        llm.generate(tiny.prompt(130), **ANSWER)
    files = list(tmp_path.glob("*.page"))
    assert len(files) == 3
    for file in files:
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with opened(path, prompt_cache_dir=str(tmp_path)) as llm:
            again = llm.generate(tiny.prompt(130), **ANSWER)
        assert again.token_ids == expected[130]
        assert again.timings.cached_tokens == 0


@pytest.mark.parametrize("count", LENGTHS)
def test_a_text_is_saved_and_given_back(
    path: Path, expected: dict[int, tuple[int, ...]], tmp_path: Path, count: int
) -> None:
    file = tmp_path / "text.bin"
    with opened(path) as llm:
        found = llm.generate(tiny.prompt(count), cache_salt="mine", **ANSWER)
        tokens = array("i", (*found.prompt_token_ids, *found.token_ids))
        saved = llm.engine.texts.save(tokens, "mine", file)
    assert saved.computed == count + 70
    with opened(path) as llm:
        with pytest.raises(FormatError, match="another API key or salt"):
            llm.engine.texts.restore(file, "other")
        restored = llm.engine.texts.restore(file, "mine")
        assert (restored.tokens, restored.computed) == (tokens, saved.computed)
        again = llm.generate(tiny.prompt(count), cache_salt="mine", **ANSWER)
        assert (again.token_ids, again.timings.cached_tokens) == (expected[count], count)
        assert llm.engine.texts.erase(tokens, "mine", keep=count // 2) == saved.computed
        erased = llm.generate(tiny.prompt(count), cache_salt="mine", **ANSWER)
        assert (erased.token_ids, erased.timings.cached_tokens) == (expected[count], 0)


def test_run_goes_on_from_a_saved_text_by_reading_it_with_the_new_prompt(path: Path, tmp_path: Path) -> None:
    file, options = tmp_path / "text.bin", ("--raw", "--temp", "0", "-n", "6", "--ignore-eos", "--json")
    first = here("run", "-m", path, "-p", "The fox", *options, "--save-session", file)
    assert first.code == 0, first.err
    second = here("run", "-m", path, "-p", " and more", *options, "--load-session", file)
    assert second.code == 0, second.err
    said = [token for token in first.data["token_ids"] if token not in {START, END}]
    assert source_of(second) == [*said, *b" and more"]
    chat = here("run", "-m", path, "-p", "more", *options[1:], "--chat-template", "plain", "--load-session", file)
    assert chat.code == 0, chat.err
    assert source_of(chat) == [*said, *b"User: more\nAssistant:"]


def source_of(done: Outcome) -> list[int]:
    found: list[int] = done.data["token_ids"][: done.data["prompt_tokens"]]
    assert found[-1] == START
    return found[:-1]
