"""Computed texts in files: saved from one engine, restored into another, and never anything false."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_program import GREEDY, PAGE_TOKENS, Toy, expected, prompt_of
from patience import SECONDS

import pacos
from pacos.engine.errands import Errands
from pacos.engine.identity import Identity
from pacos.errors import CapacityError, FormatError, UsageError

PROMPT = prompt_of(61)


@pytest.fixture
def toy() -> Iterator[Toy]:
    made = Toy()
    yield made
    made.engine.close()


def text_of(toy: Toy, prompt: list[int] = PROMPT, **options: object) -> array[int]:
    """All tokens of an answered prompt; the answer is right."""
    sequence = toy.submit(prompt, n_predict=10, **options)
    assert sequence.wait() == expected(prompt, GREEDY, 10)
    return sequence.text


def cached(toy: Toy, prompt: list[int], **options: object) -> int:
    sequence = toy.submit(prompt, n_predict=10, **options)
    assert sequence.wait() == expected(prompt, GREEDY, 10)
    return sequence.timings().cached_tokens


def saved(folder: Path, **options: object) -> Path:
    toy = Toy()
    path = folder / "text.bin"
    toy.engine.texts.save(text_of(toy, **options), str(options.get("cache_salt", "")), path)
    toy.engine.close()
    return path


def test_text_is_saved_and_restored(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "text.bin"
    done = toy.engine.texts.save(text_of(toy), "", path)
    assert (len(done.tokens), done.computed) == (71, 70)  # the last one was chosen, and not computed
    assert done.bytes == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    other = Toy()
    found = other.engine.texts.restore(path, "")
    assert found == done
    assert cached(other, [*found.tokens, 1]) == 70, "the part of a page too"
    assert other.engine.texts.tokens(path, "") == found.tokens
    assert cached(other, PROMPT) >= 56
    other.settled()
    toy.settled()
    other.engine.close()


def test_salt_and_model_bind_it(tmp_path: Path, toy: Toy) -> None:
    path = saved(tmp_path, cache_salt="a/")
    with pytest.raises(FormatError, match="another API key or salt"):
        toy.engine.texts.restore(path, "")
    toy.engine.texts.restore(path, "a/")
    assert (cached(toy, PROMPT), cached(toy, PROMPT, cache_salt="a/")) == (0, 60)
    other = Toy(identity=Identity("other", "fake"))
    with pytest.raises(FormatError, match="another model"):
        other.engine.texts.restore(path, "a/")
    other.engine.close()


@pytest.mark.parametrize("place", [0, 9, 13, 200, 300, 500, -1, -PAGE_TOKENS * 8 - 2])
def test_z_changed_byte_restores_nothing(tmp_path: Path, toy: Toy, place: int) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(FormatError):
        toy.engine.texts.restore(path, "")
    assert cached(toy, PROMPT) == 0
    toy.settled()


def test_z_cut_anywhere_restores_nothing(tmp_path: Path, toy: Toy) -> None:
    path = saved(tmp_path)
    data = path.read_bytes()
    for length in (0, 5, 8, 12, 40, 250, 300, len(data) - 1, len(data) + 1):
        path.write_bytes((data + b"x")[:length])
        with pytest.raises(FormatError):
            toy.engine.texts.restore(path, "")
    toy.settled()
    with pytest.raises(UsageError, match="cannot be read"):
        toy.engine.texts.restore(tmp_path / "none", "")


def test_nothing_known_is_not_saved(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing of this text"):
        toy.engine.texts.save(array("i", PROMPT), "", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_tokens_alone_are_kept_where_nothing_else_can_be(tmp_path: Path, toy: Toy) -> None:
    path = tmp_path / "x"
    assert toy.engine.texts.save(array("i", PROMPT), "", path, tokens_alone=True).computed == 0
    assert toy.engine.texts.restore(path, "") == toy.engine.texts.save(array("i", PROMPT), "", path, tokens_alone=True)
    recurrent = Toy(slots=2)
    texts = recurrent.engine.texts
    with pytest.raises(UsageError, match="cannot be saved"):
        texts.save(text_of(recurrent), "", path)
    assert texts.save(array("i", PROMPT), "", path, tokens_alone=True).computed == 0
    assert list(texts.restore(path, "").tokens) == PROMPT
    recurrent.settled()
    recurrent.engine.close()
    toy.settled()


def test_tokens_are_read_beside_damaged_pages(tmp_path: Path, toy: Toy) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="page 8"):
        toy.engine.texts.restore(path, "")
    assert list(toy.engine.texts.tokens(path, ""))[: len(PROMPT)] == PROMPT


def test_no_room_is_said_and_harms_nobody(tmp_path: Path) -> None:
    path = saved(tmp_path)
    toy = Toy(pages=13)
    engine = toy.engine
    held = engine._errands.ask(lambda: [engine.pool.allocate() for _ in range(5)])
    with pytest.raises(CapacityError, match="9 pages of the cache, 8 are free"):
        engine.texts.restore(path, "")
    engine._errands.ask(lambda: engine.pool.release(held))
    engine.texts.restore(path, "")
    toy.settled()
    toy.engine.close()


def test_erased_text_is_computed_again(toy: Toy) -> None:
    text = text_of(toy)
    assert toy.engine.texts.erase(text, "", keep=2 * PAGE_TOKENS) == 70
    assert cached(toy, PROMPT) == 2 * PAGE_TOKENS
    assert toy.engine.texts.erase(text, "other") == 0
    toy.settled()


def test_erasing_and_saving_beside_who_computes(toy: Toy, tmp_path: Path) -> None:
    text = text_of(toy)
    running = [toy.submit([*PROMPT, number], n_predict=25) for number in range(4)]
    toy.engine.texts.save(text, "", tmp_path / "text")
    toy.engine.texts.erase(text, "")
    for number, sequence in enumerate(running):
        assert sequence.wait() == expected([*PROMPT, number], GREEDY, 25)
    toy.settled()


def test_closed_engine_answers_errands() -> None:
    toy = Toy()
    toy.engine.close()
    with pytest.raises(UsageError, match="closed"):
        toy.engine.texts.erase(array("i", PROMPT), "")
    errands = Errands(lambda: None)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            errands.ask(lambda: 1)
        except UsageError as error:
            failures.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while not errands:
        pass
    errands.close(UsageError("over"))
    waiting.join(SECONDS)
    assert [str(error) for error in failures] == ["over"]


def test_model_takes_its_text_over_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "story"
    options = {"seed": 4, "n_predict": 20, "scores": 3}
    with pacos.load("storyteller") as llm:
        prompt = llm.tokenize("Once upon a time there was a girl who had a red dog. One day, she went to the park and")
        wanted = llm.generate(prompt, **options)
        llm.engine.texts.save(array("i", prompt), "", path)
    with pacos.load("storyteller") as llm:
        llm.engine.texts.restore(path, "")
        found = llm.generate(prompt, **options)
        assert found.timings.cached_tokens == len(prompt) - 1
        assert (found.token_ids, found.scores) == (wanted.token_ids, wanted.scores)
    with pacos.load("storyteller", cache_type_k="q8_0") as llm, pytest.raises(FormatError, match="q8_0 keys"):
        llm.engine.texts.restore(path, "")
