"""Conversations: the template that turns messages into tokens, and the thoughts and tool calls in answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacos.errors import TemplateError, UsageError
from pacos.formats.wording import shown
from pacos.llm.prompt import unmarked
from pacos.llm.stream import Decoder, TextDecoder
from pacos.settings.option import check_template_option
from pacos.types import Archive, Event

if TYPE_CHECKING:
    from pacos.engine.sequence import Constraint
    from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
    from pacos.text.answer import AnswerParser
    from pacos.text.reasoning import Thinking
    from pacos.text.template import ChatTemplate, Segment
    from pacos.text.tokenizer import Tokenizer
    from pacos.text.tools import Wanted


def _file_text(name: str) -> str | None:
    """The text of a template file; None when there is no file of that name."""
    try:
        return Path(name).read_text(encoding="utf-8") if Path(name).is_file() else None
    except UnicodeDecodeError as error:
        problem = f"the chat template {shown(name)} is not UTF-8 text (byte {error.start})"
        raise UsageError(problem, hint="convert it first") from error
    except OSError as error:
        problem = f"the chat template {shown(name)} cannot be read: {error.strerror}"
        raise UsageError(problem, hint="give the name of a built-in template, or a readable file") from error


def check_template(name: str) -> None:
    """A name or file can be a model's chat template. Errors: UsageError, before any model is opened."""
    from pacos.text.sandbox import compile_template
    from pacos.text.templates import named_template

    text = _file_text(name)
    try:
        compile_template(named_template(name).source if text is None else text)
    except TemplateError as error:
        raise UsageError(f"the chat template {shown(name)} does not work: {error.message}", hint=error.hint) from None


def open_template(archive: Archive, tokenizer: Tokenizer, name: str | None, preset: str = "") -> ChatTemplate:
    """The model's own chat template, or the one of that name or file instead, or the name or text of a preset's.

    Errors: TemplateError; UsageError for a name or file that is none.
    """
    from pacos.text.template import ChatTemplate

    text = None if name is None else _file_text(name)
    name = name if text is None else None
    if preset:
        name, text = (None, preset) if "{" in preset else (preset, None)
    bos, eos = (tokenizer.token_text(token) if token is not None else "" for token in (tokenizer.bos, tokenizer.eos))
    return ChatTemplate.from_metadata(
        archive.metadata,
        bos_token=bos,
        eos_token=eos,
        name=name,
        file_text=text,
        vocabulary=lambda spelling: tokenizer.find(spelling) is not None,
    )


class Templates:
    """The chat template of a model, and those that requests bring, each compiled at first use; from many threads.

    `name` and `preset` are as for `open_template`.
    """

    _KEPT = 8

    def __init__(self, archive: Archive, tokenizer: Tokenizer, name: str | None, preset: str) -> None:
        self.given = bool(name is not None or preset)
        self._open = partial(open_template, archive, tokenizer)
        self._name, self._preset = name, preset
        self.own: ChatTemplate | None = None  # once it is compiled
        self._others: dict[str, ChatTemplate] = {}

    def of(self, asked: str = "") -> ChatTemplate:
        """The model's, or the built-in one of that name, or one of that text in Jinja. Errors: as `open_template`."""
        if not asked:
            if self.own is None:
                self.own = self._open(self._name, self._preset)
            return self.own
        if (found := self._others.get(asked)) is None:
            found = self._open(None, asked)
            self._others = dict([*self._others.items(), (asked, found)][-self._KEPT :])
        return found


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of an answer beside the messages."""

    tools: Sequence[Any]
    tool_choice: Any
    parallel_tool_calls: bool
    constraint: ConstraintOptions
    reasoning: ReasoningOptions
    template_options: Mapping[str, Any]
    before: Sequence[int] = ()
    chat_template: str = ""


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """A conversation made ready: its tokens, and for each answer the limit of what it may be and how to read it.

    `limit` raises UsageError for what cannot be enforced.
    """

    tokens: list[int]
    limit: Callable[[], Constraint | None]
    decoder: Callable[[tuple[str, ...]], Decoder]
    stops: tuple[str, ...]


class ChatPlanner:
    """Makes conversations ready for one model; safe from many threads. See `unmarked` for the `start_token`."""

    def __init__(self, tokenizer: Tokenizer, templates: Templates, vocab_size: int, start_token: int = -1) -> None:
        from pacos.text.grammar import GrammarVocabulary

        self._tokenizer = tokenizer
        self._start_token = start_token
        self._templates = templates
        self._grammars = GrammarVocabulary(tokenizer, vocab_size)

    def limit_text(self, options: ConstraintOptions) -> Constraint | None:
        """The limit of a plain text. Errors: UsageError for what cannot be enforced."""
        from pacos.text.grammar import answer_grammar
        from pacos.text.tools import Wanted

        answer = answer_grammar(options, self._tokenizer.find)
        return None if answer is None else self._followed(Wanted(answer=answer))

    def _followed(self, wanted: Wanted) -> Constraint:
        from pacos.text.whole import whole_grammar

        return self._grammars.constraint(whole_grammar(wanted, self._control_id))

    def plan(self, messages: Sequence[Any], wish: Wish) -> ChatPlan:
        """Render messages, and settle what may be answered.

        Errors: TemplateError; UsageError for tools, a choice or a constraint that cannot be used.
        """
        from pacos.text.grammar import answer_grammar
        from pacos.text.reasoning import is_opened, recognise_thinking
        from pacos.text.tool_choice import read_tools
        from pacos.text.tools import Wanted, named_format

        reasoning = wish.reasoning
        choice = read_tools(wish.tools, wish.tool_choice)
        answer = answer_grammar(wish.constraint, self._tokenizer.find)
        options = {**_thinking_options(reasoning), **wish.template_options}
        for name in wish.template_options.keys() & {"messages", "tools"}:
            check_template_option(name)
        template = self._templates.of(wish.chat_template)
        chat, shown_tools = template.fit_tools(messages, choice.shown)
        segments = template.render(chat, tools=shown_tools, **options)
        thinking = recognise_thinking(template.source)
        opened = thinking is not None and is_opened(thinking, "".join(part.text for part in segments[-64:]))
        if thinking is not None and opened and reasoning.reasoning == "off":
            segments = [*segments, _closing(thinking)]
            opened = False
        form = None
        if choice.tools:
            known = template.tool_format
            form = known if known is not None and (shown_tools or known.example) else named_format("generic")
        elif thinking is not None and thinking.name == "harmony":
            form = named_format("harmony")
        wanted = Wanted(thinking, opened, form, choice.tools, choice.required, wish.parallel_tool_calls, answer)
        tokens = self._tokenizer.encode_segments(segments)
        if wish.before:
            before = unmarked(wish.before, self._tokenizer, self._start_token)
            tokens = [*before, *(tokens[1:] if tokens[:1] == [self._tokenizer.bos] else tokens)]
        return ChatPlan(
            tokens,
            lambda: self._limit(wanted, reasoning),
            lambda stop: self._decoder(wanted, reasoning, stop),
            template.stops,
        )

    def _limit(self, wanted: Wanted, reasoning: ReasoningOptions) -> Constraint | None:
        from pacos.text.reasoning import ThinkingBudget

        found = self._followed(wanted) if wanted.answer is not None or wanted.tools else None
        budget = 0 if reasoning.reasoning == "off" else reasoning.reasoning_budget
        if wanted.thinking is None or budget < 0:
            return found
        return ThinkingBudget(
            found,
            budget,
            vocab_size=self._grammars.vocab_size,
            opens=[self._marker_ids(marker) for marker in wanted.thinking.opens],
            closes=self._marker_ids(wanted.thinking.closes[0]),
            opened=wanted.opened,
            pieces=lambda tokens: b"".join(self._tokenizer.piece(token, special=True) for token in tokens),
            message=self._tokenizer.encode(reasoning.reasoning_budget_message, add_special=False),
        )

    def _decoder(self, wanted: Wanted, reasoning: ReasoningOptions, stop: tuple[str, ...]) -> Decoder:
        from pacos.text.answer import AnswerParser

        apart = reasoning.reasoning_format != "none"
        thinking = wanted.thinking if apart else None
        form = wanted.form
        if form is not None and form.reads_all and not apart and not wanted.tools:
            form = None
        markers = (
            *(wanted.thinking.markers if wanted.thinking else ()),
            *(form.openers + form.markers if form else ()),
        )
        text = TextDecoder(self._tokenizer, stop, shown=self._shown(markers))
        if thinking is None and form is None:
            return text
        schemas = {tool.name: tool.schema for tool in wanted.tools}
        mirror = reasoning.reasoning_format == "deepseek-legacy"
        return AnswerDecoder(text, AnswerParser(thinking, form, schemas=schemas, opened=wanted.opened, mirror=mirror))

    def _control_id(self, text: str) -> int | None:
        token = self._tokenizer.find(text)
        return token if token is not None and self._tokenizer.is_control(token) else None

    def _marker_ids(self, marker: str) -> list[int]:
        return self._tokenizer.encode(marker, add_special=False, parse_special=True)

    def _shown(self, markers: Sequence[str]) -> frozenset[int]:
        """The control tokens in these markers."""
        found = (token for marker in markers for token in self._marker_ids(marker))
        return frozenset(token for token in found if self._tokenizer.is_control(token))


class AnswerDecoder:
    """Text whose thoughts and tool calls are told apart."""

    def __init__(self, text: TextDecoder, parser: AnswerParser) -> None:
        self._text = text
        self._parser = parser

    def push(self, tokens: Sequence[int], finish_reason: str | None) -> Event:
        """What these tokens add."""
        event = self._text.push(tokens, finish_reason)
        piece = self._parser.feed(event.text)
        if event.finish_reason is None:
            return replace(event, text=piece.text, reasoning=piece.reasoning, tool_calls=piece.tool_calls)
        last = self._parser.finish()
        calls = self._parser.calls and event.finish_reason == "stop" and event.stop_string is None
        return replace(
            event,
            text=piece.text + last.text,
            reasoning=piece.reasoning + last.reasoning,
            tool_calls=(*piece.tool_calls, *last.tool_calls),
            finish_reason="tool_calls" if calls else event.finish_reason,
        )


def _thinking_options(reasoning: ReasoningOptions) -> dict[str, Any]:
    """What templates call the choice to think."""
    effort = reasoning.reasoning_effort
    found = {"reasoning_effort": effort} if effort not in ("", "none") else {}
    if reasoning.reasoning == "auto" and reasoning.reasoning_budget != 0:
        return found
    on = reasoning.reasoning == "on"
    return {**found, "enable_thinking": on, "thinking": on}


def _closing(thinking: Thinking) -> Segment:
    """The end of a thought that a template began although there shall be none."""
    from pacos.text.template import Segment

    return Segment(f"\n{thinking.closes[0]}\n\n", markup=True)
