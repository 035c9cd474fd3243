"""A talk on disk: every question is kept when it is asked, every answer when it ends, so that a kill loses neither."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pacos.cli import render
from pacos.cli.asking import with_files
from pacos.errors import PacosError, UsageError
from pacos.types import Timings

if TYPE_CHECKING:
    from pacos.cli.talk.talk import Talk
    from pacos.sessions import Conversation, Sessions


TEMPLATE, TEMPLATE_OPTIONS = "chat_template", "chat_template_kwargs"  # among the parameters


@dataclass(slots=True)
class Exchange:
    """A question and its answer; without one it is open. `files` are texts that came with it, by name."""

    question: str
    files: list[tuple[str, str]] = field(default_factory=list)
    answer: str = ""
    thought: str = ""
    finish: str = ""
    timings: Timings | None = None
    question_id: str | None = None
    answer_id: str | None = None

    @property
    def sent(self) -> str:
        """What the model reads: the files, then the question."""
        return with_files(self.question, self.files)


class Keeper:
    """Writes a talk into the sessions as it goes on; `off` means that nothing is kept until it gets a name."""

    def __init__(self, open_sessions: Callable[[], Sessions], *, off: bool) -> None:
        self._open_sessions = open_sessions
        self._opened: Sessions | None = None
        self.off = off
        self.conversation: Conversation | None = None

    @property
    def sessions(self) -> Sessions:
        """All of them, opened at first use."""
        if self._opened is None:
            self._opened = self._open_sessions()
        return self._opened

    @property
    def title(self) -> str:
        """The name of the talk; "" while it has none."""
        return "" if self.conversation is None else self.conversation.title

    def close(self) -> None:
        """Leave the file."""
        if self._opened is not None:
            self._opened.close()

    def asked(self, talk: Talk) -> None:
        """Keep the last question; a fault is told and ends nothing."""
        self._safely(lambda: self._keep_question(talk, len(talk.exchanges) - 1))

    def answered(self, talk: Talk) -> None:
        """Keep the last answer, or what it has become."""
        self._safely(lambda: self._keep_answer(talk.exchanges[-1]))

    def show_end(self, talk: Talk) -> None:
        """The talk ends with its last answer now: what was undone lies on another branch."""
        if self.conversation is not None and not self.off:
            key, last = self.conversation.id, talk.exchanges[-1].answer_id if talk.exchanges else None
            self._safely(lambda: self.sessions.set_active(key, last))

    def dropped(self, talk: Talk, exchange: Exchange) -> None:
        """Forget a question that got no answer, unless it has others; an empty conversation goes too."""
        if self.off or self.conversation is None or exchange.question_id is None:
            return
        key, question = self.conversation.id, exchange.question_id

        def forget() -> None:
            if any(one.parent == question for one in self.sessions.messages(key)):
                self.sessions.set_active(key, talk.exchanges[-1].answer_id if talk.exchanges else None)
            elif self.sessions.remove_message(key, question).message_count == 0:
                self.sessions.delete(key)
                self.conversation = None

        self._safely(forget)

    def changed(self, talk: Talk) -> None:
        """Keep the model, the system message and the options."""
        if self.conversation is not None and not self.off:
            key, facts = self.conversation.id, _facts(talk)
            self._safely(lambda: self.sessions.update(key, **facts))

    def keep_as(self, talk: Talk, name: str) -> None:
        """Give the talk a name, and keep it from now on. Errors: UsageError for a name in use."""
        taken = [one for one in self.sessions.list() if one.title.casefold() == name.casefold()]
        if any(self.conversation is None or one.id != self.conversation.id for one in taken):
            raise UsageError(f"there is a conversation {name[:80]!r}", hint="use another name, or /delete that one")
        self.off = False
        if self.conversation is None:
            self.conversation = self.sessions.create(name, **_facts(talk))
        for number, exchange in enumerate(talk.exchanges):
            if exchange.question_id is None:
                self._keep_question(talk, number)
            if exchange.answer and exchange.answer_id is None:
                self._keep_answer(exchange)
        self.conversation = self.sessions.rename(self.conversation.id, name)

    def wanted(self, name: str) -> Conversation:
        """The kept conversation of that name; of "" the latest. Errors: UsageError."""
        found = self.sessions.find(name) if name else self.sessions.latest()
        if found is None:
            raise UsageError("there is no conversation to go on with", hint="begin one with `pacos chat`")
        return found

    def read(self, conversation: Conversation) -> list[Exchange]:
        """Go on with a conversation; gives its exchanges."""
        self.conversation = conversation
        exchanges: list[Exchange] = []
        for one in self.sessions.path(conversation.id):
            if one.role == "user":
                files = [(str(file.get("name", "")), str(file.get("text", ""))) for file in one.attachments]
                exchanges.append(Exchange(one.content, files, question_id=one.id))
            elif one.role == "assistant" and exchanges:
                last = exchanges[-1]
                last.answer, last.thought, last.answer_id, last.timings = (
                    one.content,
                    one.reasoning,
                    one.id,
                    one.timings,
                )
                last.finish = str(one.details.get("finish_reason", ""))
        return exchanges

    def _keep_question(self, talk: Talk, number: int) -> None:
        if self.off:
            return
        if self.conversation is None:
            self.conversation = self.sessions.create(**_facts(talk))
        exchange = talk.exchanges[number]
        after = talk.exchanges[number - 1].answer_id if number else None
        files = [{"name": name, "text": text} for name, text in exchange.files]
        kept = self.sessions.append(self.conversation.id, "user", exchange.question, after=after, attachments=files)
        exchange.question_id = kept.id
        self.conversation = self.sessions.get(self.conversation.id)

    def _keep_answer(self, exchange: Exchange) -> None:
        if self.off or self.conversation is None or exchange.question_id is None:
            return
        facts: dict[str, Any] = {
            "reasoning": exchange.thought,
            "timings": exchange.timings,
            "details": {"finish_reason": exchange.finish},
        }
        key = self.conversation.id
        if exchange.answer_id is not None:
            self.sessions.revise(key, exchange.answer_id, content=exchange.answer, **facts)
            return
        kept = self.sessions.append(key, "assistant", exchange.answer, after=exchange.question_id, **facts)
        exchange.answer_id = kept.id

    def _safely(self, act: Callable[[], object]) -> None:
        try:
            act()
        except PacosError as error:
            render.warn(f"the conversation was not saved: {error.message}" + (f"; {error.hint}" if error.hint else ""))


def _facts(talk: Talk) -> dict[str, Any]:
    """What a conversation is gone on with, from whatever folder."""
    template: dict[str, Any] = {TEMPLATE: _whole(talk.template)} if talk.template is not None else {}
    template |= {TEMPLATE_OPTIONS: talk.template_options} if talk.template_options else {}
    return {"model": _whole(talk.model), "system": talk.system, "parameters": {**talk.chosen_options(), **template}}


def _whole(name: str) -> str:
    return os.path.abspath(name) if os.path.exists(name) else name
