"""`pacos sessions`: every subcommand, its listings as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import here, program

from pacos.sessions import Sessions


@pytest.fixture(autouse=True)
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two conversations; ids by title."""
    monkeypatch.setenv("PACOS_HOME", str(tmp_path))
    with Sessions() as sessions:
        assert sessions.file == tmp_path / "state" / "sessions.sqlite"
        first = sessions.create("Dragons", model="storyteller", system="Be brief.")
        question = sessions.append(first.id, "user", "A tale \x1b[2J of dragons?", attachments=[{"name": "a.txt"}])
        sessions.append(first.id, "assistant", "Once upon a time.")
        sessions.branch(first.id, question.id, "Another tale?")
        second = sessions.create("Numbers")
        sessions.append(second.id, "user", "What is one and one?")
    return {"Dragons": first.id, "Numbers": second.id}


def test_they_are_listed(talks: dict[str, str]) -> None:
    done = here("sessions", "list")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [
        [talks["Numbers"], "Numbers"],
        [talks["Dragons"], "Dragons"],
    ]
    rows = here("sessions", "list", "--json", "-n", 1).data
    assert [(row["title"], row["message_count"]) for row in rows] == [("Numbers", 1)]


def test_a_search_needs_words(talks: dict[str, str]) -> None:
    done = here("sessions", "search", " ")
    assert done.code == 2 and "nothing to search for" in done.err


def test_one_is_shown_safely(talks: dict[str, str]) -> None:
    done = here("sessions", "show", "dragons")
    assert done.code == 0 and "Another tale?" in done.out and "Once" not in done.out and "Be brief." in done.out
    shown = here("sessions", "show", "Dragons", "--all", "--json").data
    assert [one["content"] for one in shown["messages"]][1:] == ["Once upon a time.", "Another tale?"]
    wrong = here("sessions", "show", "Dragon")
    assert wrong.code == 2 and "did you mean 'Dragons'?" in wrong.err


def test_words_are_found(talks: dict[str, str]) -> None:
    done = here("sessions", "search", "once", "upon")
    assert done.code == 0 and "Once upon a time." in done.out and talks["Dragons"] in done.out
    (hit,) = here("sessions", "search", "once upon", "--json").data
    assert (hit["id"], hit["message"]["role"]) == (talks["Dragons"], "assistant")
    missed = here("sessions", "search", "zebra")
    assert (missed.code, missed.out, missed.err) == (1, "", "nothing is found\n")
    assert here("sessions", "search", "zebra", "--json").data == []


def test_names_change_and_conversations_go(talks: dict[str, str]) -> None:
    assert here("sessions", "rename", "Numbers", "Sums").code == 0
    refused = here("sessions", "rm", "Sums", "Numbers")
    assert refused.code == 2 and len(here("sessions", "list", "--json").data) == 2, "all or none"
    assert here("sessions", "rm", "Sums").out == "removed Sums\n"
    assert here("sessions", "rm").code == 2
    assert here("sessions", "rm", "--all").out == "removed Dragons\n"
    assert here("sessions", "list", "--json").data == []
    assert here("sessions", "list").err == "there are no conversations\n"


def test_exports_are_imported_elsewhere(talks: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    assert here("sessions", "export", "--all", "-o", target).code == 0
    other = {"PACOS_HOME": str(tmp_path / "other")}
    added = here("sessions", "import", target, "--json", **other).data
    assert {one["id"] for one in added} == set(talks.values())
    assert here("sessions", "export", "Dragons", **other).out == here("sessions", "export", "Dragons").out
    assert here("sessions", "export", "Dragons", "-o", tmp_path / "out.md").code == 0
    assert (tmp_path / "out.md").read_text().startswith("# Dragons\n")
    assert here("sessions", "export", "Numbers", "-o", tmp_path / "out.md").code == 2
    assert (tmp_path / "out.md").read_text().startswith("# Dragons\n")
    assert here("sessions", "export", "Numbers", "-o", tmp_path / "out.md", "--force").code == 0
    assert (tmp_path / "out.md").read_text().startswith("# Numbers\n")
    chat = json.dumps([{"role": "user", "content": "piped in"}])
    assert "piped in" in here("sessions", "import", "-", stdin=chat).out
    assert here("sessions", "import", "-", stdin="{").code == 2
    assert here("sessions", "export").code == 2


def test_a_damaged_file_is_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "state" / "sessions.sqlite").write_bytes(b"garbage" * 1000)
    for ending in ("-wal", "-shm"):
        (tmp_path / "state" / f"sessions.sqlite{ending}").unlink(missing_ok=True)
    done = program("sessions", "list", "--json")
    assert (done.code, done.out) == (0, "[]\n")
    assert "warning: the file of the conversations is damaged: it is kept as" in done.err
