"""A text of one model that prompts and answers are added to, and that may come from a file and go to one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pacos.cli import render
from pacos.cli.session_files import SessionFiles
from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.llm import LLM, Stream


@dataclass(slots=True)
class Growing:
    """The text so far, and how it goes on; `options` are those of every answer."""

    llm: LLM
    options: dict[str, Any]
    files: SessionFiles = field(default_factory=SessionFiles)
    system: str | None = None
    raw: bool = False
    parse_special: bool = False
    tokens: list[int] = field(default_factory=list)
    template_options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_chat(self) -> bool:
        """Whether a chat template says where prompts and answers begin and end."""
        return not self.raw and self.llm.has_chat_template

    def check(self) -> None:
        """Refuse options that a text without a template, or with one, has no use for. Errors: UsageError."""
        if not self.is_chat and self.system is not None:
            raise UsageError("--system needs a chat template", hint="drop --raw, or give --chat-template")
        if not self.is_chat and self.template_options:
            raise UsageError("--chat-template-kwargs needs a chat template", hint="drop it, or give --chat-template")
        if self.is_chat and self.parse_special:
            raise UsageError("--parse-special needs --raw", hint="in a chat only the template makes special tokens")
        if not self.is_chat and not self.raw:
            does = "answers the text" if self.llm.engine.start_token >= 0 else "goes on with the text itself"
            render.note(f"the model has no chat template: it {does}")

    def begin(self, *, show: bool) -> None:
        """Take what the file holds; `show` writes it, dim, on a terminal. Errors: as `SessionFiles.begin`."""
        self.tokens = self.files.begin(self.llm)
        if self.tokens and show:
            render.Speaker().think(self.llm.detokenize(self.tokens) + "\n")

    def prompt_tokens(self, prompt: str) -> list[int]:
        """All tokens that the answer to a prompt begins from."""
        from pacos.llm.prompt import behind

        if self.is_chat:
            return self.llm.prompt_tokens(self._messages(prompt), **self._chat_options())
        return behind(self.llm, self.tokens, prompt, parse_special=self.parse_special)

    def ask(self, prompt: str) -> Stream:
        """The answer to a prompt behind the text so far. Errors: as `LLM.stream_chat`."""
        if self.is_chat:
            return self.llm.stream_chat(self._messages(prompt), **self._chat_options())
        return self.llm.stream(self.prompt_tokens(prompt), **self.options)

    def add(self, stream: Stream) -> None:
        """Note that an answer has ended."""
        self.tokens = list(stream.token_ids)
        end = self.llm.tokenizer.special.get("eot", self.llm.tokenizer.eos)
        if self.is_chat and end is not None:
            self.tokens.append(end)  # chosen by the model, and no part of its answer; or left out where it was cut off

    def keep(self) -> None:
        """Write the text to its file, if it has one. Errors: as `SessionFiles.end`."""
        self.files.end(self.llm, self.tokens)

    def _messages(self, prompt: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system}] if self.system and not self.tokens else []
        return [*system, {"role": "user", "content": prompt}]

    def _chat_options(self) -> dict[str, Any]:
        return {**self.options, "template_options": self.template_options, "before": self.tokens}
