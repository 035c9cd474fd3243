"""What the editor of `pacos chat` offers and tells, and where a question ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pacos
from pacos.cli.talk.completion import offers
from pacos.cli.talk.editor import status
from pacos.cli.talk.keeping import Exchange, Keeper
from pacos.cli.talk.plain import is_whole, unquoted
from pacos.cli.talk.room import Room
from pacos.cli.talk.screen import Look
from pacos.cli.talk.slash import commands
from pacos.cli.talk.talk import ANSWER_OPTIONS, Talk
from pacos.sessions import Sessions
from pacos.types import Timings


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    options = {name: one.default for name, one in ANSWER_OPTIONS.items()}
    keeper = Keeper(Sessions, off=False)
    with Talk(pacos.load(), "storyteller", keeper, options=options, opener=lambda *_: pacos.load()) as talk:
        yield Room(talk, Look(), can_edit=True, as_json=False, quiet=False, timings=False, brought=str)
    keeper.close()


def texts(room: Room, line: str) -> list[str]:
    return [text for text, _, _ in offers(room, line)]


def test_offers_for_commands_and_their_values(room: Room) -> None:
    assert texts(room, "/") == [f"/{one.name}" + (" " if one.arguments else "") for one in commands().values()]
    assert texts(room, "/se") == ["/sessions", "/set "]
    assert texts(room, "/ex") == ["/export ", "/quit"]  # which is /exit, too
    assert texts(room, "/set reasoning_b") == ["reasoning_budget", "reasoning_budget_message"]
    assert texts(room, "/set context_policy ") == [
        *("context_policy error", "context_policy shift", "context_policy truncate", "context_policy default")
    ]
    assert texts(room, "/set ignore_eos t") == ["ignore_eos true"]
    assert texts(room, "/set markdown o") == ["markdown on", "markdown off"]
    assert "chatml" in texts(room, "/template ")
    assert texts(room, "/template vic") == ["vicuna"]
    assert "storyteller" in texts(room, "/model story")
    assert texts(room, "/help tok") == ["tokens"]
    assert texts(room, "/nosuch x") == []
    assert texts(room, "words /se") == []
    assert texts(room, "/edit one\n/se") == []
    assert all(length <= len(line) for line in ("/se", "/set temp") for _, _, length in offers(room, line))


def test_offers_for_conversations(room: Room) -> None:
    sessions = room.talk.keeper.sessions
    for title in ("Cats and dogs", "Dragons"):
        sessions.create(title)
    assert texts(room, "/load ") == ["Dragons", "Cats and dogs"]
    assert texts(room, "/load dra") == ["Dragons"]
    assert texts(room, "/delete dogs") == ["Cats and dogs"]  # the words need not begin it


def test_offers_for_files(room: Room, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    for name in ("one.txt", "other.md", ".hidden", "with blank.txt"):
        (folder / name).write_text("x")
    assert texts(room, f"/file {folder}/") == [
        *(f"{folder}/{name}" for name in ("one.txt", "other.md", "sub/", "with blank.txt"))
    ]
    assert texts(room, f"/file {folder}/.h") == [f"{folder}/.hidden"]
    assert texts(room, f"/export {folder}/o") == [f"{folder}/one.txt", f"{folder}/other.md"]
    assert texts(room, f"/file {folder}/nosuch/") == []
    assert texts(room, f"/grammar {folder}/on") == [f"{folder}/one.txt"]


def test_the_line_below_tells_what_there_is_room_for(room: Room) -> None:
    talk = room.talk
    assert status(room, 80) == "░░░░░░░░░░ 0/1024 tokens · storyteller"
    talk.exchanges = [Exchange("Hi", answer="Hi", timings=Timings(10, 0, 0.1, 101, 2.0))]
    talk.used_tokens, talk.files = 512, [("notes.txt", "x")]
    talk.keeper.conversation = talk.keeper.sessions.create("A long name of a conversation that was kept")
    name = "A long name of a conversation that was …"
    assert status(room, 200) == f"█████░░░░░ 512/1024 tokens · + notes.txt · 50 tokens/s · storyteller · {name}"
    for columns in range(10, 130):
        assert len(status(room, columns)) < max(columns, 18)
    assert status(room, 30) == "512/1024 tokens · + notes.txt"
    talk.used_tokens = 5000
    assert status(room, 80).startswith("██████████ 1024/1024 tokens")


@pytest.mark.parametrize(
    ("text", "whole", "meant"),
    [
        ("one", True, "one"),
        ("one\\", False, None),
        ("one\\\ntwo", True, "one\ntwo"),
        ('"""one', False, None),
        ('"""one\ntwo"""', True, "one\ntwo"),
        ('"""\none\n"""', True, "one"),
        ('"""one""" two', True, "one two"),
        ('a """quoted', True, 'a """quoted'),
        ("C:\\dir\\ x", True, "C:\\dir\\ x"),
    ],
)
def test_where_a_question_ends(text: str, whole: bool, meant: str | None) -> None:
    assert is_whole(text) is whole
    if meant is not None:
        assert unquoted(text) == meant
