"""Commands that change or take out what was said."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacos.cli import render
from pacos.cli.options import read_text_option
from pacos.cli.talk.clipboard import copy
from pacos.cli.talk.slash import Next, slash, tell
from pacos.errors import UsageError
from pacos.sessions import Conversation, Message
from pacos.sessions.records import new_id, title_from
from pacos.sessions.transfer import as_markdown, as_text

if TYPE_CHECKING:
    from pacos.cli.talk.room import Room

_CODE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)

_FILES_MAX = 50  # of one pattern


def path_of(text: str) -> Path:
    """The path that was typed: quotes and ~ mean what they mean in a shell."""
    bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    return Path(bare).expanduser()


@slash("clear")
def clear(room: Room, rest: str) -> None:
    """Begin a new conversation; the one before stays in /sessions."""
    room.talk.clear()
    tell("a new conversation")


@slash("system", "[TEXT]", values=lambda room, begun: [("-", "none")])
def set_system(room: Room, rest: str) -> None:
    """Show or change the system message; - takes it away."""
    talk = room.talk
    if rest:
        talk.system = "" if rest == "-" else rest
        talk.keeper.changed(talk)
    tell(f"system message: {render.printable(talk.system, 2000)}" if talk.system else "there is no system message")


@slash("undo")
def undo(room: Room, rest: str) -> None:
    """Take back the last question and its answer."""
    talk = room.talk
    talk.last()
    gone = talk.exchanges.pop()
    talk.unseen = min(talk.unseen, max(0, len(talk.exchanges) - 1))
    talk.keeper.show_end(talk)
    tell(f"took back: {render.printable(gone.question, 60)}")


@slash("retry", other_names=("regen", "again"))
def retry(room: Room, rest: str) -> Next:
    """Answer the last question anew; both answers are kept."""
    talk = room.talk
    talk.ask_again()
    if talk.options["temp"] == 0 or talk.options["seed"] >= 0:
        render.note("the same answer may come: the temperature is 0, or the seed is fixed (/set seed -1)")
    return Next.ANSWER


@slash("edit", "[TEXT]")
def edit(room: Room, rest: str) -> Next | None:
    """Change the last question and have it answered; without TEXT, in the editor."""
    talk = room.talk
    question = talk.last().question
    if rest:
        talk.ask_again(rest)
        return Next.ANSWER
    if not room.can_edit:
        raise UsageError("/edit needs TEXT here", hint="type /edit and the new question")
    talk.draft, room.edits = question, True
    return None


@slash("continue", other_names=("go",))
def go_on(room: Room, rest: str) -> Next:
    """Have the last answer go on where it ended."""
    last = room.talk.last()
    if not last.answer:
        raise UsageError("the last question has no answer", hint="/retry asks again")
    return Next.ANSWER


@slash("file", "PATH", other_names=("read", "glob"), paths=True)
def add_file(room: Room, rest: str) -> None:
    """Send a text file along with the next question, or all that a pattern such as src/*.py means; - drops them."""
    talk = room.talk
    if rest == "-":
        talk.files = []
        tell("no file goes with the next question")
        return
    total = sum(len(talk.llm.tokenize(text, add_special=False)) for _, text in talk.files)
    for path in _meant(path_of(rest)):
        text = read_text_option(str(path), "/file")
        talk.files.append((path.name, text))
        tokens = len(talk.llm.tokenize(text, add_special=False))
        total += tokens
        tell(f"{render.printable(path.name)}: {tokens} tokens go with the next question")
    if total > talk.llm.context_tokens:
        render.warn(f"the context holds {talk.llm.context_tokens} tokens: that is too much; /file - drops it")


def _meant(path: Path) -> list[Path]:
    """The file of a path, or those that a pattern means, in order. Errors: UsageError for none, or too many."""
    import glob

    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
    if not 0 < len(found) <= _FILES_MAX:
        hint = f"give a pattern that means 1 to {_FILES_MAX}"
        raise UsageError(f"{str(path)!a:.100} means {len(found)} files", hint=hint)
    return found


@slash("copy", "[code]", values=lambda room, begun: [("code", "the last code block alone")])
def copy_answer(room: Room, rest: str) -> None:
    """Copy the last answer, or its last code block, to the clipboard."""
    text = room.talk.last().answer
    if rest not in ("", "code"):
        raise UsageError(f"/copy takes nothing or 'code', got {rest[:40]!r}", hint="type /copy or /copy code")
    if rest:
        blocks = _CODE.findall(text + "\n")
        if not blocks:
            raise UsageError("the last answer has no code block", hint="/copy takes all of it")
        text = blocks[-1][1]
    tell(f"copied {len(text)} characters {copy(text)}")


@slash("export", "FILE.md|FILE.json", paths=True)
def export(room: Room, rest: str) -> None:
    """Write the conversation to a new file, as Markdown or JSON.

    `pacos sessions import` reads the JSON again.
    """
    path = path_of(rest)
    if path.suffix.lower() not in (".md", ".json"):
        ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise UsageError(f"{rest[:80]!r} has {ending}", hint="name a file .md or .json")
    room.talk.last()
    conversation, messages = _records(room)
    is_json = path.suffix.lower() == ".json"
    text = as_text([(conversation, messages)]) if is_json else as_markdown(conversation, messages)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="choose another name") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from None
    tell(f"wrote {path}")


def _records(room: Room) -> tuple[Conversation, list[Message]]:
    """The conversation as sessions hold it, kept or not."""
    talk, now = room.talk, time.time()
    messages: list[Message] = []

    def add(role: str, content: str, key: str | None, **more: Any) -> None:
        parent = messages[-1].id if messages else None
        messages.append(Message(key or new_id(), parent, role, content, created=now, **more))

    for one in talk.exchanges:
        files = tuple({"name": name, "text": text} for name, text in one.files)
        add("user", one.question, one.question_id, attachments=files)
        if one.answer:
            add("assistant", one.answer, one.answer_id, reasoning=one.thought, timings=one.timings)
    kept = talk.keeper.conversation
    key, began = (kept.id, kept.created) if kept is not None else (new_id(), now)
    title = talk.keeper.title or title_from(talk.exchanges[0].question)
    options = talk.chosen_options()
    return Conversation(
        key, title, talk.model, talk.system, options, began, now, messages[-1].id, len(messages)
    ), messages
