"""Faults at places drawn by chance, in all files that keep a conversation: refused, or computed again; never believed.

The seed is fixed; PACOS_DAMAGE_SEED draws others, PACOS_DAMAGE_COUNT more of them.
"""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fake_program import GREEDY, PAGE_TOKENS, Toy, expected, prompt_of
from faults import damaged

from pacos.engine.page_file import checksum
from pacos.engine.snapshot import PromptCache
from pacos.errors import FormatError
from pacos.sessions import Message, Sessions

SEED = int(os.environ.get("PACOS_DAMAGE_SEED", "7"))
COUNT = int(os.environ.get("PACOS_DAMAGE_COUNT", "70"))
MEMORY_BYTES = 4 << 20
PROMPT = prompt_of(61)
ANSWER = expected(PROMPT, GREEDY, 10)


def faults(data: bytes, name: str) -> Iterator[bytes]:
    """That many damaged copies of a file."""
    moments = random.Random(f"{SEED} {name}")
    made = (damaged(data, moments) for _ in iter(int, 1))
    changed = (one for one in made if one != data)
    return (next(changed) for _ in range(COUNT))


@contextmanager
def bounded() -> Iterator[None]:
    """What happens here takes little memory at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def answered(toy: Toy) -> int:
    """Tokens that need not be computed; the answer is right."""
    sequence = toy.submit(PROMPT, n_predict=10)
    assert sequence.wait() == ANSWER
    return sequence.timings().cached_tokens


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A text that was saved."""
    path, toy = tmp_path_factory.mktemp("text") / "text", Toy()
    sequence = toy.submit(PROMPT, n_predict=10)
    sequence.wait()
    toy.engine.texts.save(sequence.text, "", path)
    toy.engine.close()
    return path.read_bytes()


def test_a_damaged_text_restores_nothing_and_tells_no_other_tokens(text: bytes, tmp_path: Path) -> None:
    path, toy = tmp_path / "text", Toy()
    with bounded():
        for fault in faults(text, "text"):
            path.write_bytes(fault)
            with pytest.raises(FormatError):
                toy.engine.texts.restore(path, "")
            with suppress(FormatError):
                assert list(toy.engine.texts.tokens(path, "")) == [*PROMPT, *ANSWER]
    assert answered(toy) == 0
    path.write_bytes(text)
    toy.engine.texts.restore(path, "")
    assert answered(toy) > 0
    toy.settled()
    toy.engine.close()


@pytest.mark.parametrize("tokens", [1 << 25, 1 << 40, 1 << 62])
@pytest.mark.parametrize("computed", [0, 1])
def test_counts_that_a_file_of_holes_bears_out_are_refused_unread(
    text: bytes, tokens: int, computed: int, tmp_path: Path
) -> None:
    length = struct.unpack_from("<I", text, 8)[0]
    head = json.loads(text[12 : 12 + length])
    head |= {"tokens": tokens, "computed": tokens * computed}
    written = json.dumps(head).encode()
    start = b"".join((text[:8], struct.pack("<I", len(written)), written))
    pages = -(-head["computed"] // PAGE_TOKENS) * (head["page_bytes"] + 8)
    path, toy = tmp_path / "text", Toy()
    with path.open("wb") as stream:
        stream.write(start + checksum([start]))
        with suppress(OSError, OverflowError):  # as long as the file system can say
            stream.truncate(len(start) + 4 * tokens + 8 + pages)
    with bounded():
        for read in (toy.engine.texts.restore, toy.engine.texts.tokens):
            with pytest.raises(FormatError):
                read(path, "")
    toy.settled()
    toy.engine.close()


def test_a_damaged_page_of_the_prompt_cache_is_computed_again(tmp_path: Path) -> None:
    def cached(prompt: list[int]) -> int:
        toy = Toy(cache=lambda pages: PromptCache(tmp_path, 1 << 20, b"model", pages))
        sequence = toy.submit(prompt, n_predict=4)
        assert sequence.wait() == expected(prompt, GREEDY, 4)
        toy.settled()
        toy.engine.close()
        return sequence.timings().cached_tokens

    assert cached([*PROMPT, *ANSWER]) == 0
    further = [*PROMPT, *ANSWER, *expected([*PROMPT, *ANSWER], GREEDY, 3), 1, 2]
    files = {path: path.read_bytes() for path in sorted(tmp_path.glob("*.page"))}
    moments = random.Random(SEED)
    with bounded():
        for _ in range(COUNT):
            path = moments.choice(list(files))
            path.write_bytes(next(faults(files[path], f"{moments.random()}")))
            assert cached(further) < 74
            for one in tmp_path.glob("*.page"):
                one.unlink()
            for one, data in files.items():
                one.write_bytes(data)
    assert cached(further) == 74


def talked(path: Path) -> list[tuple[Message, ...]]:
    """Conversations that are kept in a new file."""
    with Sessions(path) as sessions:
        for number in range(3):
            made = sessions.create(model="m", system="Be brief.", parameters={"temp": 0.5})
            for turn in range(6):
                role, files = ("assistant", ()) if turn % 2 else ("user", ({"name": "a", "text": "b" * 50},))
                sessions.append(made.id, role, f"{number} {turn} and so on " * 40, attachments=files)
        return [sessions.path(one.id) for one in sessions.list()]


def test_damaged_conversations_are_put_aside_or_read_and_new_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "whole" / "sessions.sqlite"
    kept = talked(path)
    data = path.read_bytes()
    whole = refused = 0
    with bounded():
        for number, fault in enumerate(faults(data, "sessions")):
            other = tmp_path / str(number) / "sessions.sqlite"
            other.parent.mkdir()
            other.write_bytes(fault)
            told = read_and_written(other)
            whole += told == kept
            refused += told is None
    assert 0 < whole < COUNT
    assert refused < COUNT // 10


def read_and_written(path: Path) -> list[tuple[Message, ...]] | None:
    """What a file still tells; whatever that is, it has room for a new conversation in the end.

    None: its very mark is damaged, so that it may be another program's, and stays as it is.
    """
    for _ in range(3):  # a fault that shows puts the file aside, or its index
        try:
            with Sessions(path) as sessions:
                told = [sessions.path(one.id) for one in sessions.list()]
                sessions.search("and so")
                made = sessions.create("new")
                sessions.append(made.id, "user", "hello")
                assert [one.content for one in sessions.path(made.id)] == ["hello"]
                return told
        except FormatError as error:
            if "another program" in str(error) or "this Pacos knows" in str(error):
                return None
    raise AssertionError(f"{path} can no longer be used")
