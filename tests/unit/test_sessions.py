"""Conversations on disk: a tree of messages, names, search, exports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacos.errors import UsageError
from pacos.sessions import Sessions
from pacos.types import Timings


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    with Sessions(tmp_path / "sessions.sqlite") as opened:
        yield opened


def talk(sessions: Sessions, *texts: str, **given: str) -> str:
    """A conversation of questions and answers in turn; gives its id."""
    made = sessions.create(**given)
    for place, text in enumerate(texts):
        sessions.append(made.id, "assistant" if place % 2 else "user", text)
    return made.id


def test_everything_said_comes_back(sessions: Sessions) -> None:
    made = sessions.create(model="org/tale:Q8_0", system="Be brief.", parameters={"temp": 0.5, "stop": ["x"]})
    attached = ({"name": "a.txt", "text": "A"},)
    question = sessions.append(made.id, "user", "How?\0 Ünï \ud800 ?", attachments=attached)
    timings = Timings(12, 3, 0.5, 7, 0.25)
    answer = sessions.append(
        made.id, "assistant", "So.", reasoning="Hm.", timings=timings, details={"finish_reason": "stop"}
    )
    with Sessions(sessions.file) as again:
        found = again.get(made.id)
        assert (found.model, found.system, found.message_count) == ("org/tale:Q8_0", "Be brief.", 2)
        assert found.parameters == {"temp": 0.5, "stop": ["x"]}
        assert found.active == answer.id and found.created <= found.updated == answer.created
        first, second = again.path(made.id)
        assert (first.content, first.attachments) == ("How?\0 Ünï ? ?", attached)
        assert second == answer and second.timings == timings and second.parent == question.id


def test_branches_are_siblings_and_one_is_active(sessions: Sessions) -> None:
    made = talk(sessions, "one", "two", "three", "four")
    one, two, three, four = sessions.path(made)
    other = sessions.branch(made, three.id, "another three")
    assert (other.role, other.parent) == ("user", two.id)
    assert [one.content for one in sessions.path(made)] == ["one", "two", "another three"]
    assert sessions.siblings(made, other.id) == (three.id, other.id)
    assert sessions.set_active(made, three.id, to_end=True).active == four.id
    assert sessions.path(made, two.id) == (one, two)
    start = sessions.branch(made, one.id, "from the start")
    assert start.parent is None and sessions.path(made) == (start,)
    assert sessions.set_active(made, None).active is None and sessions.path(made) == ()
    assert sessions.append(made, "user", "again").parent is None
    assert sessions.append(made, "assistant", "apart", after=two.id).parent == two.id  # whatever is active
    assert len(sessions.messages(made)) == 8


def test_messages_are_changed_and_removed_with_what_follows(sessions: Sessions) -> None:
    made = talk(sessions, "one", "two", "three", "four")
    one, two, three, _ = sessions.path(made)
    assert sessions.revise(made, two.id, content="two and more", reasoning="why").reasoning == "why"
    assert sessions.path(made)[1].content == "two and more"
    assert sessions.search("more")[0].message is not None and not sessions.search("two three")
    assert sessions.remove_message(made, three.id).active == two.id
    assert [m.id for m in sessions.messages(made)] == [one.id, two.id]
    assert not sessions.search("four")
    sessions.delete(made)
    assert sessions.list() == () and not sessions.search("one")
    with pytest.raises(UsageError, match="no conversation"):
        sessions.path(made)


def test_a_long_conversation_is_removed_as_well(sessions: Sessions) -> None:
    data = [{"role": "user", "content": str(place)} for place in range(3000)]
    (made,) = sessions.import_json(json.dumps(data))
    path = sessions.path(made.id)
    assert [one.content for one in path] == [str(place) for place in range(3000)]
    sessions.remove_message(made.id, path[1].id)
    assert sessions.get(made.id).message_count == 1


def test_conversations_are_found_by_id_title_and_beginning(sessions: Sessions) -> None:
    first = talk(sessions, "  Tell me\nabout  dragons and everything else that there is in old books of tales")
    assert sessions.get(first).title == "Tell me"
    second = sessions.create("Dragons", id="abc-123")
    assert sessions.find("dragons").id == sessions.find("abc-").id == sessions.find(second.id).id == "abc-123"
    assert sessions.find("Tell me").id == first
    assert [one.id for one in sessions.list()] == ["abc-123", first] and sessions.latest() == second
    sessions.append(first, "assistant", "Once.")
    assert sessions.latest() == sessions.get(first)
    with pytest.raises(UsageError, match="no conversation 'Dragon'") as error:
        sessions.find("Dragon")
    assert "did you mean 'Dragons'" in (error.value.hint or "")
    sessions.rename(first, "Dragons")
    with pytest.raises(UsageError, match="2 conversations are called 'Dragons'") as error:
        sessions.find("Dragons")
    assert first in (error.value.hint or "")
    assert [one.title for one in sessions.list(1, 1)] == ["Dragons"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, c: s.create("x" * 201), "the title has 201 characters"),
        (lambda s, c: s.create(id="../up"), "the id is '../up'"),
        (lambda s, c: s.create(id=c), "there is a conversation"),
        (lambda s, c: s.create(parameters={"a": float("nan")}), "parameters cannot be kept"),
        (lambda s, c: s.create(parameters={"a": object()}), "parameters cannot be kept"),
        (lambda s, c: s.create(parameters=[1]), "parameters is list"),
        (lambda s, c: s.append(c, "the user", "x"), "the role is 'the user'"),
        (lambda s, c: s.append(c, "user", 7), "the message is int"),
        (lambda s, c: s.append(c, "user", "x", after="nothing"), "no message 'nothing'"),
        (lambda s, c: s.append("nothing", "user", "x"), "no conversation 'nothing'"),
        (lambda s, c: s.append(c, "user", "x", id="m") and s.append(c, "user", "x", id="m"), "there is a message m"),
        (lambda s, c: s.append(c, "user", "x", attachments=["a"]), "attachments is tuple"),
        (lambda s, c: s.rename(c, " \n"), "the title is empty"),
        (lambda s, c: s.export(c, format="pdf"), "the format is 'pdf'"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(sessions: Sessions, call, message: str) -> None:
    made = talk(sessions, "one")
    before = sessions.get(made)
    with pytest.raises(UsageError, match=message):
        call(sessions, made)
    assert len(sessions.list()) == 1
    assert sessions.get(made).title == before.title


def test_search_knows_words_beginnings_phrases_titles_and_scripts_without_blanks(sessions: Sessions) -> None:
    made = talk(sessions, "The quick brown fox", "jumps over the lazy Café dog", title="Animals 100%")
    talk(sessions, "日本語の文章を探す", "brown, quick", title="Other")

    def found(text: str) -> list[str]:
        return [one.excerpt for one in sessions.search(text)]

    assert sorted(found("qui bro")) == ["The quick brown fox", "brown, quick"]
    assert found('"quick brown"') == ["The quick brown fox"]
    assert found("cafe") == ["jumps over the lazy Café dog"]
    assert found("文章") == ["日本語の文章を探す"]
    assert found("animals") == ["Animals 100%"] and sessions.search("animals")[0].message is None
    assert found("100%") == ["Animals 100%"] and found("1_0") == []
    assert found("") == found('" "') == found("zebra") == []
    for hostile in ('"', "a OR b", "NEAR(", "col:x", "*", "^", "a\0b", "-x", "(" * 500, "'; DROP TABLE messages"):
        assert found(hostile) == []
    long = sessions.append(made, "user", "x " * 200 + "needle" + " y" * 200)
    (hit,) = sessions.search("needle")
    assert hit.message == long and hit.conversation.id == made
    assert "needle" in hit.excerpt and hit.excerpt.startswith("…") and len(hit.excerpt) < 200
    assert len(sessions.search("the", limit=1)) == 1


def test_owners_see_their_own_alone(sessions: Sessions) -> None:
    made = talk(sessions, "secret words")
    with Sessions(sessions.file, owner="other") as other:
        assert other.list() == () and other.search("secret") == ()
        with pytest.raises(UsageError, match="no conversation"):
            other.get(made)
        assert other.create(id=made).id == made  # nor can it be told that the id is in use elsewhere
        other.delete(made)
    assert sessions.get(made).message_count == 1


def test_an_export_brings_everything_back(sessions: Sessions, tmp_path: Path) -> None:
    made = talk(sessions, "one", "two", title="Tales", system="Be brief.", model="storyteller")
    question = sessions.path(made)[0]
    sessions.branch(made, question.id, "uno", timings=Timings(1, 0, 0.5, 2, 0.5), attachments=({"name": "a"},))
    sessions.append(made, "assistant", "dos", reasoning="Hm.\nWell.")
    text = sessions.export(made)
    with Sessions(tmp_path / "other.sqlite") as other:
        (read,) = other.import_json(text)
        assert read == sessions.get(made) and other.messages(made) == sessions.messages(made)
        (again,) = other.import_json(text)
        assert again.id != made and other.messages(again.id) == sessions.messages(made)
        assert {one.message.content for one in other.search("uno") if one.message} == {"uno"}
    markdown = sessions.export(made, format="md")
    assert markdown.startswith("# Tales\n\nstoryteller · 20")
    assert "## System\n\nBe brief.\n\n## User\n\n*with a*\n\nuno\n\n## Assistant\n\n> Hm.\n> Well.\n\ndos\n" in markdown


def test_a_plain_list_of_messages_is_a_conversation(sessions: Sessions) -> None:
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    (made,) = sessions.import_json(json.dumps(chat))
    assert (made.title, made.system, made.message_count) == ("Q", "S", 2)
    assert [one.content for one in sessions.path(made.id)] == ["Q", "A"]


def changed(data: dict, **fields: object) -> str:
    data["conversations"][0].update(fields)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: "{", "this is no JSON"),
        (lambda d: "[" * 100_000, "this is no JSON"),
        (lambda d: "7", "this is no export"),
        (lambda d: "[]", "there are no messages"),
        (lambda d: '[{"role": "user"}]', "message 0 lacks content"),
        (lambda d: '[{"role": "user", "content": "x", "extra": 1}]', "message 0 has the field 'extra'"),
        (lambda d: json.dumps({**d, "version": 9}), "the export has version 9"),
        (lambda d: json.dumps({**d, "conversations": 1}), "no list of conversations"),
        (lambda d: changed(d, id="a/b"), "the id is 'a/b'"),
        (lambda d: changed(d, title=7), "conversation 0: title is 7"),
        (lambda d: changed(d, active="gone"), "the active message 'gone' is not there"),
        (lambda d: changed(d, created=True), "created is True"),
        (lambda d: changed(d, messages=[*d["conversations"][0]["messages"]] * 2), "is there twice"),
        (lambda d: changed(d, messages=d["conversations"][0]["messages"][::-1]), "does not come before it"),
        (lambda d: changed(d, messages=[{**d["conversations"][0]["messages"][0], "role": "\x1b[2J"}]), "the role is"),
        (
            lambda d: changed(d, messages=[{**d["conversations"][0]["messages"][0], "timings": {"cost": 1}}]),
            "timings have 'cost'",
        ),
    ],
)
def test_a_wrong_import_is_refused_whole(sessions: Sessions, spoil, message: str) -> None:
    made = talk(sessions, "one", "two")
    data = json.loads(sessions.export(made))
    with pytest.raises(UsageError, match=message):
        sessions.import_json(spoil(data))
    assert [one.id for one in sessions.list()] == [made]


def test_many_threads_may_use_one(sessions: Sessions) -> None:
    made = sessions.create()

    def say(name: str) -> None:
        for place in range(10):
            sessions.append(made.id, "user", f"{name} {place}")

    threads = [threading.Thread(target=say, args=(str(one),)) for one in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(sessions.path(made.id)) == 40
