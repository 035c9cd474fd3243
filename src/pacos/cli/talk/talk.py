"""One talk with a model: what was said, the options of answers, and what of it the model is shown."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pacos.cli.talk.keeping import Exchange, Keeper
from pacos.errors import PacosError, UsageError
from pacos.settings import GenerateOptions, SamplingOptions, options_of
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions

if TYPE_CHECKING:
    from pacos.llm import LLM, Stream
    from pacos.sessions import Conversation
    from pacos.types import Timings

ANSWER_GROUPS = (SamplingOptions, GenerateOptions, ReasoningOptions, ConstraintOptions)
ANSWER_OPTIONS = {one.name: one for group in ANSWER_GROUPS for one in options_of(group)}


@dataclass(slots=True)
class Totals:
    """What all answers cost. Units: tokens and seconds."""

    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_seconds: float = 0.0
    generated_tokens: int = 0
    generate_seconds: float = 0.0

    def add(self, timings: Timings) -> None:
        """Count one more answer."""
        self.answers += 1
        self.prompt_tokens += timings.prompt_tokens
        self.cached_tokens += timings.cached_tokens
        self.prompt_seconds += timings.prompt_seconds
        self.generated_tokens += timings.generated_tokens
        self.generate_seconds += timings.generate_seconds


class Talk:
    """A conversation that goes on; `opener` opens another model or the same one with another template."""

    def __init__(
        self,
        llm: LLM,
        model: str,
        keeper: Keeper,
        *,
        options: Mapping[str, Any],
        opener: Callable[[str, str | None], LLM],
        system: str = "",
        template: str | None = None,
    ) -> None:
        self.llm = llm
        self.model = model
        self.keeper = keeper
        self.options = dict(options)
        self.system = system
        self.template = template
        self.template_options: dict[str, Any] = {}
        self.exchanges: list[Exchange] = []
        self.files: list[tuple[str, str]] = []  # that go with the next question
        self.draft = ""  # what the editor begins with
        self.replaced: Exchange | None = None  # what the open exchange stands for, should it fail
        self.unseen = 0  # so many of the first exchanges the model is no longer shown
        self.used_tokens = 0
        self.tokens: list[int] = []  # of what was computed last
        self.totals = Totals()
        self._opener = opener
        self._ahead: Stream | None = None

    def chosen_options(self) -> dict[str, Any]:
        """Options that differ from the defaults, for a list or a file."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.options.items()
            if value != ANSWER_OPTIONS[name].default
        }

    @property
    def answering(self) -> dict[str, Any]:
        """Options of the next answer, those for the chat template among them."""
        return {**self.options, "template_options": self.template_options}

    def clear(self) -> None:
        """Begin a new conversation; the one before stays where it is kept."""
        self.exchanges, self.files, self.draft = [], [], ""
        self.unseen = self.used_tokens = 0
        self.keeper.conversation = None

    def ask(self, question: str) -> None:
        """Add a question, and keep it; one before that got no answer is dropped."""
        if self.exchanges and not self.exchanges[-1].answer:
            self.exchanges.pop()
        self.exchanges.append(Exchange(question, self.files))
        self.files = []
        self.keeper.asked(self)

    def ask_again(self, question: str | None = None) -> None:
        """Have the last question answered once more, or another one in its place. Errors: UsageError."""
        last = self.last()
        self.exchanges.pop()
        self.replaced = last if last.answer else None
        if question is None:
            self.exchanges.append(Exchange(last.question, last.files, question_id=last.question_id))
        else:
            self.files = [*last.files, *self.files]
            self.ask(question)

    def last(self) -> Exchange:
        """The last exchange. Errors: UsageError when there is none."""
        if not self.exchanges:
            raise UsageError("nothing was said yet", hint="type a question")
        return self.exchanges[-1]

    def settle(self) -> bool:
        """Keep the last answer; without one take the question back, and what was there before; whether there is one."""
        last = self.exchanges[-1]
        if last.answer:
            self.keeper.answered(self)
        else:
            self.exchanges.pop()
            if self.replaced is not None:
                self.exchanges.append(self.replaced)
            self.keeper.dropped(self, last)
        self.replaced = None
        return bool(last.answer)

    def messages(self, first: int | None = None) -> list[dict[str, str]]:
        """What the model is shown, from that exchange on."""
        found = [{"role": "system", "content": self.system}] if self.system else []
        for one in self.exchanges[self.unseen if first is None else first :]:
            found.append({"role": "user", "content": one.sent})
            if one.answer:
                found.append({"role": "assistant", "content": one.answer})
        return found

    def stream(self, *, progress: bool = False) -> Stream:
        """Begin to answer the last question, or go on with its answer.

        Errors: UsageError when there is none, ContextFull when it does not fit; TemplateError.
        """
        self._stop_ahead()
        options = {**self.answering, "return_progress": progress}
        if self.last().answer:
            options["template_options"] = {**self.template_options, "continue_final_message": True}
        self._make_room(options)
        return self.llm.stream_chat(self.messages(), **options)

    def compute_ahead(self) -> None:
        """Have what was said computed while the next question is typed; what hinders that is told when it is asked."""
        if not any(one.answer for one in self.exchanges):
            return
        with suppress(PacosError):
            tokens = self.llm.chat_tokens(self.messages(), **{**self.template_options, "add_generation_prompt": False})
            self._ahead = self.llm.stream(tokens, n_predict=0)

    def _stop_ahead(self) -> None:
        """What is computed by now is not computed again."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = None

    def _make_room(self, options: dict[str, Any]) -> None:
        """No longer show the oldest exchanges to a model whose context is full; half of it is free then."""
        limit, asked = self.llm.context_tokens, self.options["n_predict"]
        if self.options["context_policy"] != "error" or len(self.exchanges) - self.unseen < 2:
            return
        room = limit // 4 if asked < 0 else min(asked, limit // 4)

        def fits(first: int, most: int) -> bool:
            return len(self.llm.prompt_tokens(self.messages(first), **options)) <= most

        if not fits(self.unseen, limit - room):
            kept = range(self.unseen + 1, len(self.exchanges) - 1)
            self.unseen = kept.start + bisect_left(kept, True, key=lambda first: fits(first, limit // 2))

    def reopen(self, model: str, template: str | None) -> None:
        """Go on with another model or template. Errors: as `load`; then all stays as it is."""
        llm = self._opener(model, template)
        try:
            llm.template  # a broken one is told now  # noqa: B018
        except BaseException:
            llm.close()
            raise
        self._stop_ahead()
        self.llm.close()
        self.llm, self.model, self.template = llm, model, template
        self.unseen = self.used_tokens = 0
        self.keeper.changed(self)
        self.compute_ahead()

    def go_on_with(self, kept: Conversation, *, at_once: bool = False) -> None:
        """Go on with a kept conversation; `at_once` says that the next question is there already."""
        self.clear()
        self.exchanges = self.keeper.read(kept)
        self.system = kept.system
        if any(one.answer for one in self.exchanges):
            self.used_tokens = len(self.llm.prompt_tokens(self.messages(), **self.answering))
            if not at_once:
                self.compute_ahead()

    def __enter__(self) -> Talk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.llm.close()
