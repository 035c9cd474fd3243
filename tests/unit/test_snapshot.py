"""The prompt cache on disk: what one engine computed another takes over, and nothing false."""

from __future__ import annotations

import errno
import logging
import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_program import GREEDY, PAGE_TOKENS, FakePages, Toy, expected, prompt_of
from patience import until

import pacos
from pacos.backends.cpu.pages import CpuPages
from pacos.backends.reference import ReferencePages
from pacos.engine.page_file import PageReader, checksum, first_failing
from pacos.engine.snapshot import PromptCache
from pacos.errors import UsageError
from pacos.types import PageLayout

FILE_BYTES = 52 + 8 * PAGE_TOKENS


def cache_in(folder: Path, size_bytes: int = 1 << 20, root: bytes = b"model") -> Callable[[FakePages], PromptCache]:
    return lambda pages: PromptCache(folder, size_bytes, root, pages)  # type: ignore[arg-type]


def answered(toy: Toy, prompt: list[int], **options: object) -> int:
    """Tokens of a prompt that need not be computed; its answer is right."""
    sequence = toy.submit(prompt, n_predict=10, **options)
    assert sequence.wait() == expected(prompt, GREEDY, 10)
    return sequence.timings().cached_tokens


def filled(folder: Path, *prompts: list[int], **options: object) -> list[Path]:
    toy = Toy(cache=cache_in(folder))
    for prompt in prompts:
        answered(toy, prompt, **options)
    toy.engine.close()
    return sorted(folder.glob("*.page"))


def test_a_prompt_survives_a_restart(tmp_path: Path) -> None:
    prompt = prompt_of(61)
    files = filled(tmp_path / "new" / "folder", prompt)
    assert len(files) == 70 // PAGE_TOKENS + 1  # of prompt and answer; the last one is begun
    assert sorted(file.stat().st_size for file in files) == [*[FILE_BYTES] * 8, FILE_BYTES + 6 * 4]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    toy = Toy(cache=cache_in(tmp_path / "new" / "folder"))
    assert answered(toy, prompt) == 56
    assert toy.program.tokens_run == 5 + 9
    assert answered(toy, [*prompt[:40], *prompt_of(20, seed=5)]) >= 40
    toy.settled()
    found = toy.engine.statistics()
    assert found.pages_restored == 7
    toy.engine.close()


@pytest.mark.parametrize(
    ("kept", "more", "cached"), [(70, 9, 70), (67, 3, 67), (68, 0, 67), (65, 0, 64), (64, 2, 64), (63, 9, 56)]
)
def test_a_text_goes_on_inside_the_page_where_it_ended(tmp_path: Path, kept: int, more: int, cached: int) -> None:
    prompt = prompt_of(61)
    text = [*prompt, *expected(prompt, GREEDY, 9)]
    filled(tmp_path, prompt)
    toy = Toy(cache=cache_in(tmp_path))
    other = [*text[:kept], *((token + 1) % 48 for token in [*text[kept:], *prompt_of(9)][:more])]
    assert answered(toy, other) == cached
    assert toy.program.tokens_run == len(other) - cached + 9
    toy.settled()
    toy.engine.close()


def test_less_than_a_page_is_kept_too(tmp_path: Path) -> None:
    first = Toy(cache=cache_in(tmp_path))
    first.submit(prompt_of(5), n_predict=2).wait()
    first.engine.close()
    toy = Toy(cache=cache_in(tmp_path))
    assert answered(toy, [*prompt_of(5)[:3], 1, 1]) == 3
    toy.engine.close()


def test_pages_are_saved_while_the_engine_rests(tmp_path: Path) -> None:
    toy = Toy(cache=cache_in(tmp_path))
    answered(toy, prompt_of(61))
    until(lambda: toy.engine.statistics().pages_saved >= 9)
    assert len(list(tmp_path.glob("*.page"))) == 9
    toy.engine.close()


def test_long_prompts_come_back_step_by_step_beside_others(tmp_path: Path) -> None:
    long = prompt_of(700)
    for turn in range(2):
        toy = Toy(pages=300, context=1000, cache=cache_in(tmp_path))
        toy.program.gate.clear()
        other, sequence = toy.submit(prompt_of(5, seed=2), n_predict=40), toy.submit(long, n_predict=10)
        toy.program.gate.set()
        assert other.wait() == expected(prompt_of(5, seed=2), GREEDY, 40)
        assert sequence.wait() == expected(long, GREEDY, 10)
        assert sequence.timings().cached_tokens == (0 if turn == 0 else 696)
        toy.settled()
        toy.engine.close()


@pytest.mark.parametrize("how", ["flip", "cut", "longer", "empty", "other"])
def test_a_damaged_page_is_dropped(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    files = filled(tmp_path, prompt_of(61))
    other = files[0].read_bytes()
    for file in files[1:]:
        data = bytearray(file.read_bytes())
        changed = {"cut": data[:-1], "longer": data + b"x", "empty": b"", "other": other}.get(how)
        if changed is None:
            data[len(data) // 2] ^= 1
            changed = data
        file.write_bytes(changed)
    cached = []
    for _ in range(9):  # a page is looked at when those before it are whole
        toy = Toy(cache=cache_in(tmp_path))
        with caplog.at_level(logging.WARNING, "pacos"):
            cached.append(answered(toy, prompt_of(61)))
        toy.engine.close()
    assert cached == sorted(cached)
    assert cached[0] <= 8
    assert cached[-1] == 56  # all were written again
    assert "damaged page" in caplog.text


def test_models_and_salts_stay_apart(tmp_path: Path) -> None:
    filled(tmp_path, prompt_of(61), cache_salt="a")
    for root, salt, cached in ((b"model", "b", 0), (b"other", "a", 0), (b"model", "a", 56)):
        toy = Toy(cache=cache_in(tmp_path, root=root))
        assert answered(toy, prompt_of(61), cache_salt=salt) == cached
        assert answered(toy, prompt_of(61, seed=9), cache_prompt=False) == 0
        toy.engine.close()


def test_the_folder_stays_within_its_size(tmp_path: Path) -> None:
    toy = Toy(cache=cache_in(tmp_path, 20 * FILE_BYTES))
    for seed in range(12):
        answered(toy, prompt_of(61, seed=seed))
    toy.engine.close()
    assert 10 <= len(list(tmp_path.glob("*.page"))) <= 20
    last = Toy(cache=cache_in(tmp_path, 20 * FILE_BYTES))
    assert answered(last, prompt_of(61, seed=11)) == 56
    assert answered(last, prompt_of(61, seed=0)) == 0
    last.engine.close()
    PromptCache(tmp_path, 5 * FILE_BYTES, b"model", FakePages(1)).close()  # type: ignore[arg-type]
    assert len(list(tmp_path.glob("*.page"))) <= 5


def test_two_engines_share_a_folder(tmp_path: Path) -> None:
    toys = [Toy(cache=cache_in(tmp_path, 60 * FILE_BYTES)) for _ in range(2)]
    for turn in range(10):
        for toy in toys:
            prompts = [prompt_of(61, seed=turn % 4), prompt_of(30, seed=turn)]
            running = [toy.submit(prompt, n_predict=10) for prompt in prompts]
            for sequence, prompt in zip(running, prompts, strict=True):
                assert sequence.wait() == expected(prompt, GREEDY, 10)
    for toy in toys:
        toy.engine.close()
    assert not list(tmp_path.glob("*.part"))
    assert not list(tmp_path.glob(".*.part"))


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / ".00.1.1.part", tmp_path / ".00.2.1.part"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (1, 1))
    PromptCache(tmp_path, 1000, b"model", FakePages(1)).close()  # type: ignore[arg-type]
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_ends_saving_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    toy = Toy(cache=cache_in(tmp_path))
    with caplog.at_level(logging.WARNING, "pacos"):
        for seed in range(5):
            answered(toy, prompt_of(61, seed=seed))
        toy.engine.close()
    assert caplog.text.count("takes no more: No space left") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"prompt cache .*file.* cannot be used"):
        pacos.load("storyteller", prompt_cache_dir=str(tmp_path / "file"), threads=1)
    with pytest.raises(UsageError, match="prompt_cache_size is 0"):
        pacos.LoadOptions(prompt_cache_size=0)


def test_a_real_model_goes_on_after_a_restart(tmp_path: Path) -> None:
    text = "Once upon a time there was a small dragon who lived on a hill near the sea. " * 8
    found = []
    for options, hits in (({}, False), ({}, True), ({"activations": "f32"}, False), ({"cache_type_k": "f32"}, False)):
        with pacos.load("storyteller", threads=1, prompt_cache_dir=str(tmp_path), **options) as llm:
            answer = llm.generate(text, temp=0, n_predict=16)
            assert (answer.timings.cached_tokens > 64) == hits, options
            found.append(answer.text)
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [CpuPages, ReferencePages])
@pytest.mark.parametrize("positional", [True, False])
def test_pages_give_and_take_their_bytes(
    kind: type[CpuPages], positional: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not positional:
        monkeypatch.delattr(os, "preadv", raising=False)  # as on Windows
    pages = kind(4, PageLayout(16, (32, 0, 64), (32, 0, 64), "F16", "Q8_0"))
    content = array("B", (n * 7 % 251 for n in range(pages.page_bytes))).tobytes()
    (tmp_path / "page").write_bytes(b"head" + content)
    with (tmp_path / "page").open("rb", buffering=0) as stream:
        reader = PageReader(stream)
        assert pages.fill(2, lambda parts: reader.read(parts, 4))
        assert pages.read(2) == content
        assert pages.read(1) == pages.read(3) == bytes(pages.page_bytes)
        pages.copy(2, 0)
        assert pages.read(0) == content
        assert not pages.fill(3, lambda parts: reader.read(parts, 5)), "the file ends before"


def test_checksum_is_xxh64_however_the_bytes_lie() -> None:
    for text, wanted in (
        (b"", 0xEF46DB3751D8E999),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ):
        assert int.from_bytes(checksum([text]), "little") == wanted
    data = bytes(n * 37 % 256 for n in range(200))
    whole = checksum([data], b"seed")
    assert checksum([data]) != whole
    for cut in range(0, 201, 3):
        assert checksum([data[:cut], data[cut : cut + 31], b"", data[cut + 31 :]], b"seed") == whole


def test_pieces_of_work_end_at_the_first_that_fails() -> None:
    done: list[int] = []
    assert first_failing(lambda n: done.append(n) is None, 50) == 50
    assert sorted(done) == list(range(50))
    assert first_failing(lambda n: n not in (7, 9, 30), 50) == 7
    assert first_failing(lambda _: False, 0) == 0
    with pytest.raises(OSError, match="the disk"):
        first_failing(lambda n: n < 5 or raising(OSError("the disk")), 50)


def raising(error: Exception) -> bool:
    raise error
