"""Chat templates: turn messages into the prompt that a model was trained on.

The prompt comes as segments, so that the tokenizer makes special tokens of markup only. How a template's own
text is told from the text of messages, and why a message cannot pass as markup: see `marked`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pacos.errors import TemplateError, UsageError
from pacos.text import marked
from pacos.text.budget import new_deadline
from pacos.text.messages import Message, copy_messages, copy_options, copy_tools, flatten, fold_system, spread
from pacos.text.templates import guess_template, named_template, recognise_template
from pacos.text.tool_messages import CallAbilities, Chat, adapt_calls, describe_tools, try_calls
from pacos.text.tools import ToolFormat, recognise_format

if TYPE_CHECKING:
    from pacos.text.sandbox import Compiled

__all__ = ["ChatTemplate", "Message", "Segment"]

_KEY = "tokenizer.chat_template"
_MOST_VARIANTS = 64
_TAIL = "\t "  # after a tag, to see whether the template strips the ends of messages


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a prompt: markup may hold special tokens, data never does."""

    text: str
    markup: bool


@dataclass(frozen=True, slots=True)
class _Abilities:
    """What a template does with contents, found by trying."""

    takes_text: bool
    takes_parts: bool
    takes_system: bool


class ChatTemplate:
    """A compiled chat template with the tokens that it may name.

    `source` is its text, `name` the format that the text looks like (None: unknown), `stops` strings that end
    an answer where the model has no token for that, `warnings` what went wrong while it was chosen.
    Errors: TemplateError when the text is not a template, or not one that may run.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str = "",
        eos_token: str = "",
        name: str | None = None,
        tool_source: str | None = None,
        stops: Sequence[str] = (),
        warnings: Sequence[str] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        from pacos.text.sandbox import compile_template

        self.source = source
        self.name = name or recognise_template(source)
        self.stops = tuple(stops)
        self.warnings = tuple(warnings)
        self.bos_token = bos_token
        self.eos_token = eos_token
        self.clock = clock
        self._compiled = compile_template(source)
        self._compiled_for_tools = compile_template(tool_source) if tool_source else self._compiled
        self._abilities: _Abilities | None = None
        self._call_abilities: CallAbilities | None = None
        self._tool_source = tool_source or source

    @classmethod
    def named(
        cls, name: str, *, bos_token: str = "", eos_token: str = "", warnings: Sequence[str] = ()
    ) -> ChatTemplate:
        """Take a built-in template; UsageError lists the names."""
        found = named_template(name)
        return cls(
            found.source,
            bos_token=bos_token,
            eos_token=eos_token,
            name=found.name,
            stops=found.stops,
            warnings=warnings,
        )

    @classmethod
    def from_metadata(
        cls,
        metadata: Mapping[str, Any],
        *,
        bos_token: str,
        eos_token: str,
        name: str | None = None,
        file_text: str | None = None,
        vocabulary: Callable[[str], bool] | None = None,
    ) -> ChatTemplate:
        """Choose a model's template: the given text, the given name, the file's own, or one that fits.

        A text or name that was asked for must work; a file's own template that does not work is replaced by
        a built-in one, with a warning. `vocabulary` tells whether a text is a token of the model.
        Errors: TemplateError for file_text, UsageError for name.
        """
        if file_text is not None:
            return cls(file_text, bos_token=bos_token, eos_token=eos_token)
        if name is not None:
            return cls.named(name, bos_token=bos_token, eos_token=eos_token)
        warnings: list[str] = []
        source, tool_source = _own_sources(metadata, warnings)
        if source is not None:
            try:
                return cls(source, tool_source=tool_source, warnings=warnings, bos_token=bos_token, eos_token=eos_token)
            except TemplateError as error:
                warnings.append(f"the model's chat template does not work: {error}")
        if vocabulary is None:
            held = frozenset(metadata.get("tokenizer.ggml.tokens") or ())
            vocabulary = held.__contains__
        guess = guess_template(vocabulary).name
        reason = "guessed from the vocabulary" if guess != "plain" else "since the vocabulary shows no known format"
        missing = "" if warnings else "the model has no chat template; "
        warnings.append(f"{missing}using the built-in template {guess!r}, {reason}")
        return cls.named(guess, warnings=warnings, bos_token=bos_token, eos_token=eos_token)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Any] | None = (),
        continue_final_message: bool = False,
        **options: Any,
    ) -> list[Segment]:
        """Render messages into segments, markup and data by turns; their texts in a row are the prompt.

        With continue_final_message the last message, which must be the assistant's, is left open for the model
        to go on with. Options are passed to the template (`enable_thinking=False`).
        Errors: TemplateError; UsageError for messages, tools or options that no template can take.
        """
        chat = copy_messages(messages)
        given = {**copy_options(options), "tools": copy_tools(tools or ())}
        tag = secrets.token_hex(16) if continue_final_message else ""
        if tag:
            add_generation_prompt = False
            chat[-1] = _open(chat[-1], tag)
        deadline = new_deadline()
        chat = self._adapt(chat, deadline)
        whole = self._render(chat, {**given, "add_generation_prompt": add_generation_prompt}, deadline)
        if tag:
            whole = _cut_at(whole, tag)
        segments = [Segment(text, is_markup) for text, is_markup in marked.runs([whole])]
        if not segments:
            raise TemplateError("the chat template printed nothing, so there is no prompt")
        return segments

    @cached_property
    def tool_format(self) -> ToolFormat | None:
        """The format in which a model with this template calls tools; None when the template does not tell."""
        return recognise_format(self._tool_source)

    def fit_tools(self, messages: Sequence[Message], tools: Sequence[Any]) -> tuple[Chat, list[Any]]:
        """Bring tool calls and results into the form that this template prints, for `render`.

        Tools that it has no place for are described in the system message. Errors: UsageError, TemplateError.
        """
        chat, copied = copy_messages(messages), copy_tools(tools)
        if not copied and not any(message["role"] == "tool" or message.get("tool_calls") for message in chat):
            return chat, copied
        deadline = new_deadline()
        abilities = self._call_abilities or try_calls(
            lambda tried, tools: self._tried(self._adapt(tried, deadline), deadline, tools), self.tool_format
        )
        self._call_abilities = abilities
        chat = adapt_calls(chat, abilities, self.tool_format)
        if copied and not abilities.takes_tools:
            return describe_tools(chat, copied, self.tool_format), []
        return chat, copied

    def _render(self, chat: list[dict[str, Any]], variables: dict[str, Any], deadline: float) -> str:
        from pacos.text.sandbox import run_template
        from pacos.text.template_filters import Absent

        now, form = self.clock() if self.clock else None, self.tool_format
        compiled: Compiled = self._compiled_for_tools if variables["tools"] else self._compiled
        given = {
            "documents": Absent(),
            **(form.variables(variables["tools"], now or datetime.now(UTC)) if form is not None else {}),
            **variables,
            "messages": chat,
            "tools": variables["tools"] or Absent(),
            "bos_token": marked.markup(self.bos_token),
            "eos_token": marked.markup(self.eos_token),
        }
        return marked.join(run_template(compiled, given, now=now, deadline=deadline))

    def _adapt(self, chat: list[dict[str, Any]], deadline: float) -> list[dict[str, Any]]:
        """Bring messages into the form that this template can print."""
        abilities = self._abilities or self._try_abilities(deadline)
        self._abilities = abilities
        if chat[0]["role"] in ("system", "developer") and not abilities.takes_system:
            chat = fold_system(chat)
        if abilities.takes_parts:
            return chat if abilities.takes_text else [spread(message) for message in chat]
        return [flatten(message) for message in chat]

    def _tried(self, chat: list[dict[str, Any]], deadline: float, tools: Sequence[Any] = ()) -> str | None:
        """What a small chat becomes; None when the template refuses it."""
        from pacos.text.sandbox import is_refusal

        try:
            return self._render(chat, {"tools": list(tools), "add_generation_prompt": True}, deadline)
        except TemplateError as error:
            if is_refusal(error):
                raise  # what is too costly for a tiny chat is not tried again with a larger one
            return None

    def _try_abilities(self, deadline: float) -> _Abilities:
        """Find out what the template prints by rendering three tiny chats."""
        needle = "needle-" + secrets.token_hex(8)

        def prints(*messages: tuple[str, Any]) -> str | None:
            chat = [{"role": marked.markup(role), "content": content} for role, content in messages]
            text = self._tried(chat, deadline)
            return text if text is not None and needle in text else None

        text = prints(("user", needle))
        parts = prints(("user", [{"type": "text", "text": needle}]))
        takes_parts = parts is not None and "'text'" not in parts and '"text"' not in parts
        takes_text = text is not None or not takes_parts
        lead: Any = needle if takes_text else [{"type": "text", "text": needle}]
        question: Any = "x" if takes_text else [{"type": "text", "text": "x"}]
        takes_system = prints(("system", lead), ("user", question)) is not None or (text is None and not takes_parts)
        return _Abilities(takes_text, takes_parts, takes_system)


def _own_sources(metadata: Mapping[str, Any], warnings: list[str]) -> tuple[str | None, str | None]:
    """Find a file's own template and its variant for tools; a text, or a list of named texts."""
    value = metadata.get(_KEY)
    tool_value = metadata.get(f"{_KEY}.tool_use")
    if isinstance(value, (list, tuple)) and len(value) <= _MOST_VARIANTS:
        variants: dict[str, Any] = {}
        for entry in value:
            if isinstance(entry, Mapping):
                variants.setdefault(str(entry.get("name")), entry.get("template"))
        value = variants.get("default", next(iter(variants.values()), None))
        tool_value = tool_value or variants.get("tool_use")
        if value is None:
            warnings.append("the model's chat template is a list without templates")
    if value is None or value == "":
        return None, None
    if not isinstance(value, str):
        warnings.append(f"the model's chat template is a {type(value).__name__}, not text")
        return None, None
    return value, tool_value if isinstance(tool_value, str) and tool_value else None


def _open(message: dict[str, Any], tag: str) -> dict[str, Any]:
    """Put a tag where the model shall go on."""
    content = message.get("content")
    if message["role"] != "assistant" or not content:
        raise UsageError("only a last message of the assistant, with content, can be continued")
    if isinstance(content, str):
        return {**message, "content": content + tag + _TAIL}
    last = content[-1]
    if not isinstance(last.get("text"), str):
        raise UsageError("only a message that ends with text can be continued")
    return {**message, "content": [*content[:-1], {**last, "text": last["text"] + tag + _TAIL}]}


def _cut_at(whole: str, tag: str) -> str:
    """Cut a rendering where the tag stands; strip the end as the template would have."""
    found = whole.rfind(tag)
    if found < 0:
        raise TemplateError("the chat template does not print the last message as it is, so it cannot be continued")
    before = marked.cut(whole, slice(0, found))
    return before if whole.startswith(tag + _TAIL, found) else marked.rstrip(before)
