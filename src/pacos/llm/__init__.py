"""The library: open a model, generate, chat, tokenize, score.

    import pacos

    with pacos.load("storyteller") as llm:
        for event in llm.stream_chat([{"role": "user", "content": "Tell me a story about a dragon."}]):
            print(event.text, end="", flush=True)

One LLM may be used from many threads: its sequences are computed together, step by step.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pacos.errors import FormatError, ModelError, UsageError
from pacos.formats.wording import shown
from pacos.lazy import need_numpy, np
from pacos.llm.chat import ChatPlanner, Templates, Wish
from pacos.llm.choices import best, checked_count, seeded
from pacos.llm.embed import Embeddings, embed, pooling_of, read_inputs
from pacos.llm.lines import within_lines
from pacos.llm.preset import ChatStart, opened_adapters, opening_options
from pacos.llm.prompt import Prompt, seen
from pacos.llm.prompt import token_ids as to_token_ids
from pacos.llm.rerank import Ranks, rerank
from pacos.llm.stream import Decoder, Stream, TextDecoder, collected
from pacos.settings import GenerateOptions, LoadOptions, QueueOptions, SamplingOptions, read
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.embed import EmbedOptions, InputOptions
from pacos.types import Archive, Completion, TokenScore

if TYPE_CHECKING:
    from pacos.engine.engine import Engine
    from pacos.engine.sequence import Constraint
    from pacos.hub.store import Preset
    from pacos.models.adapters import Adapter
    from pacos.text.template import ChatTemplate
    from pacos.text.tokenizer import Tokenizer

__all__ = ("LLM", "Embeddings", "Message", "Prompt", "Ranks", "Stream", "load")

Message = Mapping[str, Any]

TEXT_GROUPS = (SamplingOptions, GenerateOptions, QueueOptions, ConstraintOptions)
_SHOW_HINT = "`pacos show` tells what is in it"


def load(
    path_or_name: str | os.PathLike[str] = "storyteller",
    *,
    vocab_only: bool = False,
    chat_template: str | None = None,
    options: LoadOptions | None = None,
    **settings: Any,
) -> LLM:
    """Open a model: a GGUF file, a Hugging Face folder with safetensors, or a name such as "storyteller".

    `settings` are the fields of LoadOptions (ctx_size, threads, backend, ...). `vocab_only` opens just the tokenizer.
    What a name gives its model by default holds where neither these nor the options of an answer say otherwise.
    `chat_template` is the name of a built-in template or a file that replaces the model's own.
    Errors: ModelNotFound, FormatError, UnsupportedModel, CapacityError, UsageError.
    """
    from pacos.hub.names import find
    from pacos.hub.opening import open_model

    if not isinstance(path_or_name, str | os.PathLike):
        raise UsageError(f"{seen(path_or_name)} is no model", hint="give a path or a name, as text or a Path")
    if not isinstance(options, LoadOptions | None):
        raise UsageError(f"options is {seen(options)}", hint="give LoadOptions(...), or single settings by name")
    if options is not None and settings:
        raise UsageError("load got both options and single settings", hint="give one of them")
    found = find(path_or_name)
    path = found.path
    if options is None:
        (options,) = read((LoadOptions,), {**opening_options(found.preset), **settings})
    try:
        archive = open_model(path)
        try:
            return LLM(archive, options, vocab_only=vocab_only, chat_template=chat_template, preset=found.preset)
        except BaseException:
            archive.close()
            raise
    except ModelError as error:
        raise _located(error, path) from error.__cause__


def _located(error: ModelError, path: Path) -> ModelError:
    """The same error, saying in which file and what to do."""
    known = path.name in error.message
    hint = "get it again, or another conversion of the model" if isinstance(error, FormatError) else _SHOW_HINT
    return type(error)(error.message if known else f"{shown(path)}: {error.message}", hint=error.hint or hint)


def _wish(
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    tool_choice: str | Mapping[str, Any] | None = "auto",
    parallel_tool_calls: bool = True,
    template_options: Mapping[str, Any] | None = None,
    before: Sequence[int] = (),
    chat_template: str = "",
    **options: Any,
) -> tuple[list[Any], Wish]:
    """The groups of options for the engine, and what is asked of an answer."""
    *groups, constraint, reasoning = read((*TEXT_GROUPS, ReasoningOptions), options)
    asked = (template_options or {}, before, chat_template)
    return groups, Wish(tools, tool_choice, parallel_tool_calls, constraint, reasoning, *asked)


class LLM:
    """An open model; close it, or use it as a context manager."""

    def __init__(
        self,
        archive: Archive,
        options: LoadOptions,
        *,
        vocab_only: bool = False,
        chat_template: str | None = None,
        preset: Preset | None = None,
    ) -> None:
        from pacos.text.breakers import Breakers
        from pacos.text.tokenizer import Tokenizer

        self.archive = archive
        self.tokenizer: Tokenizer = Tokenizer.from_metadata(archive.metadata)
        self._breakers = Breakers(self.tokenizer)
        self._preset = ChatStart(preset, own_template=chat_template is not None)
        self._templates = Templates(archive, self.tokenizer, chat_template, self._preset.template)
        self._made_planner: ChatPlanner | None = None
        self._engine: Engine | None = None
        self.adapters: tuple[Adapter, ...] = ()  # how strongly they act says `engine.adapters`
        if not vocab_only:
            from pacos.engine.load import load_engine

            self.adapters = opened_adapters(archive, options)
            self._engine = load_engine(archive, options, adapters=self.adapters)

    @property
    def path(self) -> Path:
        """Where the model lies."""
        return self.archive.path

    @property
    def engine(self) -> Engine:
        """The engine behind this model. Errors: UsageError when only the vocabulary is open, or after close()."""
        if self._engine is None:
            raise UsageError("this model has no engine", hint="it was closed, or opened with vocab_only=True")
        return self._engine

    @property
    def context_tokens(self) -> int:
        """Most tokens of one sequence, prompt and answer together."""
        return self.engine.context_tokens

    @property
    def cache_bytes(self) -> int:
        """Memory beside the file: what keys, values and a step's numbers may take."""
        return self.engine.pages.bytes + self.engine.program.bytes

    @property
    def has_chat_template(self) -> bool:
        """Whether the file brings a chat template of its own, or one was given."""
        return bool(self._templates.given or self.archive.metadata.get("tokenizer.chat_template"))

    @property
    def template(self) -> ChatTemplate:
        """The chat template, compiled at first use. Errors: TemplateError, UsageError for an unknown name."""
        return self._templates.of()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the file, in words."""
        parts = (self.archive, self.tokenizer, self._templates.own)
        return tuple(text for part in parts for text in getattr(part, "warnings", ()))

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text; `parse_special` turns special tokens' names in it into their ids.

        Errors: UsageError for what is no text.
        """
        if not isinstance(text, str | bytes):
            raise UsageError(f"{seen(text)} is no text", hint="give str, or bytes of UTF-8")
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, token_ids: Sequence[int], special: bool = False) -> str:
        """Text of token ids; `special` shows control tokens by name. Errors: UsageError for an id out of range."""
        return self.tokenizer.decode(to_token_ids(token_ids), special=special)

    def chat_tokens(
        self, messages: Sequence[Message], *, tools: Sequence[Any] = (), **template_options: Any
    ) -> list[int]:
        """Token ids of a conversation as the chat template writes it; message text never makes special tokens."""
        chat, shown_tools = self.template.fit_tools(self._preset.begun(messages), tools)
        return self.tokenizer.encode_segments(self.template.render(chat, tools=shown_tools, **template_options))

    def prompt_tokens(self, messages: Sequence[Message], **options: Any) -> list[int]:
        """Token ids that `stream_chat`, given the same, begins from. Errors: as there, but for the queue's."""
        wish = _wish(**self._preset.filled(options))[1]
        plan = self._planner.plan(self._preset.begun(messages), wish)
        plan.limit()  # what cannot be enforced there is refused here too
        return plan.tokens if self.engine.start_token < 0 else [*plan.tokens, self.engine.start_token]

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        """Continue a text or token ids; `options` are fields of the groups in TEXT_GROUPS."""
        stream = self.stream(prompt, **options)
        return collected(stream, stream.prompt_token_ids)

    async def agenerate(self, prompt: Prompt, **options: Any) -> Completion:
        """As `generate`, without holding up the event loop; cancelling the task cancels the sequence."""
        return await _acollected(self.stream, prompt, options)

    def stream(self, prompt: Prompt, **options: Any) -> Stream:
        """Continue a text or token ids, event by event; closing the stream cancels the sequence."""
        return self.stream_many(prompt, 1, **options)[0]

    def stream_many(self, prompt: Prompt, count: int, **options: Any) -> list[Stream]:
        """Continue a prompt several times; it is computed once. Number i has the seed `seed + i`.

        Errors: CapacityError when the queue has no places for all, and as `stream`.
        """
        *groups, constraint = read(TEXT_GROUPS, self._preset.filled(options))
        tokens = self.tokenize(prompt) if isinstance(prompt, str | bytes) else to_token_ids(prompt)
        return self._start(tokens, groups, [self._planner.limit_text(constraint) for _ in range(checked_count(count))])

    def generate_many(self, prompt: Prompt, count: int, *, best_of: int = 0, **options: Any) -> list[Completion]:
        """Continue a prompt several times; of `best_of` answers those whose tokens are likeliest on average.

        They come the best first, with scores. Without `best_of`, in order of their seeds. Errors: as `stream_many`.
        """
        if 0 < best_of < count:
            raise UsageError(f"best_of is {best_of}, for {count} answers", hint="use more, or 0 for any")
        if best_of:
            return best(self.stream_many(prompt, best_of, **{"scores": 0, **options}), count)
        return [collected(stream, stream.prompt_token_ids) for stream in self.stream_many(prompt, count, **options)]

    def chat(self, messages: Sequence[Message], **options: Any) -> Completion:
        """Answer a conversation of {"role": ..., "content": ...} messages."""
        stream = self.stream_chat(messages, **options)
        return collected(stream, stream.prompt_token_ids)

    async def achat(self, messages: Sequence[Message], **options: Any) -> Completion:
        """As `chat`, without holding up the event loop; cancelling the task cancels the sequence."""
        return await _acollected(self.stream_chat, messages, options)

    def stream_chat(self, messages: Sequence[Message], **options: Any) -> Stream:
        """Answer a conversation, event by event; closing the stream cancels the sequence.

        `options` and errors are as for `stream_chat_many`.
        """
        return self.stream_chat_many(messages, 1, **options)[0]

    def stream_chat_many(self, messages: Sequence[Message], count: int, **options: Any) -> list[Stream]:
        """Answer a conversation several times, with seeds as in `stream_many`.

        `options` are as for `stream`, and fields of ReasoningOptions; `tools`, `tool_choice` ("auto") and
        `parallel_tool_calls` (True) as in OpenAI's chat completions; `template_options` for the chat template; token
        ids of an earlier exchange to put `before` it; a `chat_template` for this one, by name or in Jinja.
        Errors: TemplateError; UsageError for what cannot be used or enforced; ContextFull; CapacityError.
        """
        groups, wish = _wish(**self._preset.filled(options))
        plan = self._planner.plan(self._preset.begun(messages), wish)
        limits = [plan.limit() for _ in range(checked_count(count))]
        return self._start(plan.tokens, groups, limits, plan.decoder, plan.stops)

    def embed(self, inputs: Prompt | Sequence[Prompt], **options: Any) -> Embeddings:
        """One vector for each text or list of token ids; `options`: EmbedOptions, InputOptions, QueueOptions.

        All inputs are computed together. An encoder sees an input whole, so none may be longer than its context.
        Errors: UsageError and ContextFull naming the input.
        """
        how, limits, queue = read((EmbedOptions, InputOptions, QueueOptions), options)
        tokens, truncated = read_inputs(inputs, self.tokenizer, self.context_tokens, limits)
        looks_back = self.engine.causal and self.engine.start_token < 0
        pooling = how.pooling or pooling_of(self.archive.metadata, causal=looks_back)
        return embed(self.engine, tokens, pooling, how, queue, truncated)

    def rerank(self, query: str, documents: Sequence[str], **options: Any) -> Ranks:
        """How well each document answers the query, by a model with a head that ranks; `options` are fields of
        InputOptions and QueueOptions.

        Errors: UsageError for a model without such a head, and as `embed`.
        """
        limits, queue = read((InputOptions, QueueOptions), options)
        types = self.archive.tensors.get("token_types.weight")
        two = types is not None and types.shape[0] > 1
        return rerank(self.engine, self.tokenizer, query, documents, limits, queue, types=two)

    def logits(self, token_ids: Sequence[int], source: Sequence[int] = ()) -> Any:
        """Logits after every token. An encoder-decoder reads the `source`; the tokens are what its decoder has written.

        Shapes: T token ids -> numpy f32 [T, V]. Errors: ContextFull, UsageError for an id out of range
        or without numpy.
        """
        need_numpy("logits()")
        tokens = to_token_ids(token_ids)
        rows = self.engine.logits(tokens, range(len(tokens)), to_token_ids(source))
        return np.frombuffer(rows, np.float32).reshape(len(tokens), -1)

    def scores(self, token_ids: Sequence[int], first: int = 0, top: int = 0) -> list[TokenScore]:
        """Log-probability of each token from first + 1 on, given all before it, and of the `top` likeliest there.

        Shapes: T token ids -> T - 1 - first scores. Errors: ContextFull, UsageError for an id out of range.
        """
        return self.engine.token_scores(to_token_ids(token_ids), first, top)

    def log_probabilities(self, token_ids: Sequence[int], first: int = 0, source: Sequence[int] = ()) -> list[float]:
        """Log-probability of each token from first + 1 on, given all before it; `source` is as for `logits`.

        Units: natural logarithm. Shapes: T token ids -> T - 1 - first numbers.
        """
        return self.engine.log_probabilities(to_token_ids(token_ids), first, to_token_ids(source))

    def close(self) -> None:
        """Stop computing and release the file; safe to call twice, and from several threads."""
        _close(self._engine, self.archive)
        self._engine = None  # only now: whoever else closes must wait for the engine too

    def __del__(self) -> None:
        if getattr(self, "_engine", None) is not None and not sys.is_finalizing():
            # Not here: this may run on the engine's own thread, in the middle of a step.
            threading.Thread(target=_close, args=(self._engine, self.archive), daemon=True).start()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _planner(self) -> ChatPlanner:
        """Made at first use; twice does no harm."""
        if self._made_planner is None:
            sizes = (self.engine.vocab_size, self.engine.start_token)
            self._made_planner = ChatPlanner(self.tokenizer, self._templates, *sizes)
        return self._made_planner

    def _start(
        self,
        tokens: Sequence[int],
        groups: Sequence[Any],
        constraints: Sequence[Constraint | None],
        decoder: Callable[[tuple[str, ...]], Decoder] | None = None,
        stops: tuple[str, ...] = (),
    ) -> list[Stream]:
        """A stream for each constraint."""
        from pacos.engine.sequence import SequenceRequest

        sampling, generate, queue = groups
        if generate.ignore_eos and any(one is not None for one in constraints):
            raise UsageError("ignore_eos leaves a constrained answer no way to end", hint="drop one of them")
        if generate.keep >= 0 and tokens and tokens[0] == self.tokenizer.bos:
            generate = replace(generate, keep=generate.keep + 1)
        stops = (*generate.stop, *stops)
        breakers = self._breakers.sequences(sampling.dry_sequence_breakers) if sampling.dry_multiplier else ()
        request = SequenceRequest(
            tokens,
            sampling,
            generate,
            self.tokenizer.eog,
            banned_ids=frozenset(self.tokenizer.suppressed),
            queue=queue,
            breakers=breakers,
        )
        requests = [
            replace(request, sampling=own, constraint=constraint)
            for own, constraint in zip(seeded(sampling, len(constraints)), constraints, strict=True)
        ]
        made = decoder if decoder is not None else partial(TextDecoder, self.tokenizer)
        decoders = [within_lines(made(stops), generate) for _ in requests]
        sequences = self.engine.submit_together(requests)
        return [Stream(self, *pair) for pair in zip(sequences, decoders, strict=True)]


async def _acollected(start: Callable[..., Stream], text: Any, options: Mapping[str, Any]) -> Completion:
    import asyncio

    stream = await asyncio.to_thread(start, text, **options)  # a long text takes its time to become tokens
    async with stream:
        return collected([event async for event in stream], stream.prompt_token_ids)


def _close(engine: Engine | None, archive: Archive) -> None:
    if engine is not None:
        engine.close()
    archive.close()
