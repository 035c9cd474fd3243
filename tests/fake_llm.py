"""A language model for tests of the server: it obeys the surface of `pacos.llm.LLM` and answers with what it was asked.

No part of the server is replaced: this stands where a model stands. Its tokens are the bytes of texts. An answer is the
last message (or the prompt) again, a word an event, so that a test knows what must come. `pace_seconds` lies between
two events; the prompt "fail" makes the sequence fail. A message of the form "NAME JSON", where NAME is one of the tools
given, makes the model think NAME and then call it, unless it may not.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pacos.engine.statistics import Statistics
from pacos.errors import ContextFull, NumericalError, UsageError
from pacos.llm.embed import Embeddings
from pacos.llm.rerank import Ranks
from pacos.server.model_file import ModelSpec
from pacos.settings import GenerateOptions, QueueOptions, SamplingOptions, read
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.embed import EmbedOptions, InputOptions
from pacos.types import Event, PromptProgress, Timings, TokenScore, ToolCallDelta

Held = bool | Callable[[str, int], bool]  # whether answers do not get their turn; by text and tokens given so far
CONTEXT_TOKENS = 4096
FAILING = "fail"


class FakeStream:
    """The events of one answer."""

    def __init__(
        self,
        llm: FakeLLM,
        text: str,
        prompt: Sequence[int],
        options: GenerateOptions,
        seed: int,
        called: str | None = None,
    ) -> None:
        self.prompt_token_ids = tuple(prompt)
        self.seed = seed
        self.owner = self.cache_salt = ""
        self.priority = 0
        self.closed = self.started = self.cancelled = False
        self._llm = llm
        self._text = text
        self._options = options
        self._made = 0
        self._events = self._run() if called is None else self._call(called)
        self.given: dict[str, Any] = {}

    @property
    def queue_position(self) -> int:
        return 0 if self.started else 1

    @property
    def token_ids(self) -> array[int]:
        return array("i", [*self.prompt_token_ids, *self._text.encode()[: self._made]])

    def timings(self) -> Timings:
        return Timings(len(self.prompt_token_ids), 0, 0.01, self._made, 0.01)

    def cancel(self) -> None:
        self.cancelled = True

    async def _run(self) -> AsyncIterator[Event]:
        words = [word + " " for word in self._text.split(" ")]
        words[-1] = words[-1][:-1]
        count = len(self.prompt_token_ids)
        for done in (0, count) if self._options.return_progress else ():
            yield Event("", progress=PromptProgress(count, 0, done, 0.01))
        limit = self._options.n_predict if self._options.n_predict >= 0 else CONTEXT_TOKENS
        for word in words:
            while self._llm.holds(self._text, self._made) and not self.cancelled:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await asyncio.sleep(self._llm.pace_seconds)
            if self.cancelled:
                yield Event("", (), "cancelled")
                return
            self.started = True
            if self._text == FAILING and self._made:
                raise NumericalError("the logits of a sequence are not finite")
            tokens = tuple(word.encode())[: limit - self._made]
            self._made += len(tokens)
            self._llm.generated += len(tokens)
            reason = "length" if self._made >= limit else None
            timings = self.timings() if reason else None
            scores = tuple(map(self._score, tokens)) if self._options.scores >= 0 else ()
            yield Event(bytes(tokens).decode(errors="replace"), tokens, reason, timings=timings, scores=scores)
            if reason:
                return
            if self._text == FAILING:
                await asyncio.sleep(0)
        if self._text == FAILING:
            raise NumericalError("the logits of a sequence are not finite")
        yield Event("", (), "stop", timings=self.timings())

    def _score(self, token: int) -> TokenScore:
        """Every token has the probability one half, and the likeliest ones are itself and its neighbours."""
        return TokenScore(
            token, -math.log(2), tuple((token + i, -math.log(2 + i)) for i in range(self._options.scores))
        )

    async def _call(self, arguments: str) -> AsyncIterator[Event]:
        """Think in two pieces, call in three."""
        name, half = self._text, len(arguments) // 2
        self.started = True
        yield Event("", (1,), reasoning=name)
        yield Event("", (2,), reasoning="!")
        yield Event("", (3,), tool_calls=(ToolCallDelta(0, "call_1", name, ""),))
        yield Event("", (4,), tool_calls=(ToolCallDelta(0, arguments=arguments[:half]),))
        yield Event("", (5,), tool_calls=(ToolCallDelta(0, arguments=arguments[half:]),))
        yield Event("", (), "tool_calls", timings=Timings(len(self.prompt_token_ids), 0, 0.01, 5, 0.01))

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def aclose(self) -> None:
        """Stop."""
        self.closed = True
        await self._events.aclose()


class FakeLLM:
    """A model that repeats what it is told."""

    has_chat_template = True
    warnings = ()
    context_tokens = CONTEXT_TOKENS
    cache_bytes = 0
    adapters = ()
    start_token = -1  # no encoder reads

    def __init__(self, path: str = "fake.gguf", pace_seconds: float = 0.0, held: Held = False) -> None:
        self.tokenizer = self.engine = self.texts = self
        self.path = Path(path)
        self.pace_seconds = pace_seconds
        self.generated = 0
        self.stalled_seconds = 0.0
        self.special: dict[str, int] = {}  # tokens by role
        self.held = held
        self.streams: list[FakeStream] = []
        self.closed = False

    def holds(self, text: str, made: int) -> bool:
        return self.held if isinstance(self.held, bool) else self.held(text, made)

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)

    def piece(self, token: int, special: bool = False) -> bytes:
        return bytes([token])

    def detokenize(self, token_ids: Sequence[int], special: bool = False) -> str:
        return bytes(token_ids).decode(errors="replace")

    def stream_many(self, prompt: str | Sequence[int], count: int, **options: Any) -> list[FakeStream]:
        return [self.stream(prompt, **own) for own in _seeded(options, count)]

    def stream_chat_many(self, messages: Sequence[Mapping[str, Any]], count: int, **options: Any) -> list[FakeStream]:
        return [self.stream_chat(messages, **own) for own in _seeded(options, count)]

    def stream(self, prompt: str | Sequence[int], **options: Any) -> FakeStream:
        tokens = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        return self._start(self.detokenize(tokens), tokens, options)

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: Any = "auto",
        parallel_tool_calls: bool = True,
        template_options: Mapping[str, Any] | None = None,
        before: Sequence[int] = (),
        chat_template: str = "",
        **options: Any,
    ) -> FakeStream:
        if not messages:
            raise UsageError("a chat needs messages")
        content = messages[-1]["content"]
        text = content if isinstance(content, str) else "\n".join(part["text"] for part in content)
        thinking = {key: options.pop(key) for key in [*options] if key.startswith("reasoning")}
        read((ReasoningOptions,), thinking)
        names = [tool["function"]["name"] for tool in tools]
        name, _, arguments = text.partition(" ")
        called = arguments if name in names and tool_choice != "none" else None
        stream = self._start(
            text if called is None else name, [*before, *self.prompt_tokens(messages, tools=tools)], options, called
        )
        stream.given = {
            "tools": names,
            "tool_choice": tool_choice,
            "parallel_tool_calls": parallel_tool_calls,
            "template_options": dict(template_options or {}),
            "chat_template": chat_template,
            **thinking,
            **options,
        }
        return stream

    def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any] = (), **options: Any
    ) -> list[int]:
        described = f"{list(tools)}" if tools else ""
        said = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        return self.tokenize(described + said)

    def embed(self, inputs: Sequence[str | Sequence[int]], **options: Any) -> Embeddings:
        how, _ = read((EmbedOptions, InputOptions), options)
        tokens = [self.tokenize(one) if isinstance(one, str) else list(one) for one in inputs]
        width = how.dimensions or 4
        vectors = tuple(array("f", [len(ids), *ids[:3], *bytes(3)][:width]) for ids in tokens)
        return Embeddings(vectors, width, "mean", tuple(map(len, tokens)))

    def erase(self, tokens: array[int], salt: str, keep: int) -> int:
        return len(tokens)

    def restore(self, path: Path, salt: str) -> None:
        raise UsageError(f"{path.name} cannot be read: it saves nothing")

    def close(self) -> None:
        self.closed = True

    def statistics(self) -> Statistics:
        going = [stream for stream in self.streams if not stream.closed]
        running = sum(stream.started for stream in going)
        values = dict.fromkeys((field.name for field in fields(Statistics)), 0)
        known: dict[str, Any] = {
            "running": running,
            "waiting": len(going) - running,
            "tokens_generated": self.generated,
        }
        known["stalled_seconds"] = self.stalled_seconds
        return Statistics(**{**values, **known, "context_tokens": CONTEXT_TOKENS})

    def rerank(self, query: str, documents: Sequence[str], **options: Any) -> Ranks:
        read((InputOptions,), options)
        scores = tuple(float(sum(word in text.split() for word in query.split())) for text in documents)
        return Ranks(scores, tuple(len(query) + len(text) for text in documents))

    def _start(self, text: str, tokens: list[int], options: Mapping[str, Any], called: str | None = None) -> FakeStream:
        groups = (SamplingOptions, GenerateOptions, QueueOptions, ConstraintOptions)
        sampling, generate, queue, _ = read(groups, options)
        if len(tokens) >= CONTEXT_TOKENS:
            raise ContextFull(f"{len(tokens)} tokens do not fit a context of {CONTEXT_TOKENS}")
        stream = FakeStream(self, text, tokens, generate, sampling.seed, called)
        stream.given = dict(options)
        stream.owner, stream.cache_salt, stream.priority = queue.owner, queue.cache_salt, queue.priority
        self.streams.append(stream)
        return stream


def _seeded(options: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The options of each of several answers: number i has the seed `seed + i`, where one is given."""
    seed = options.get("seed", -1)
    return [{**options, **({} if seed < 0 else {"seed": (seed + number) % 2**64})} for number in range(count)]


def fake_spec(name: str = "fake", **more: Any) -> ModelSpec:
    """A spec that `FakeModels.open` opens; its file is this one, so that it has a size."""
    return ModelSpec(name, __file__, **more)


class FakeModels:
    """Opens fake models and remembers them."""

    def __init__(self, pace_seconds: float = 0.0, held: Held = False) -> None:
        self.pace_seconds = pace_seconds
        self.held = held
        self.opened: dict[str, FakeLLM] = {}

    def open(self, spec: ModelSpec) -> FakeLLM:
        """Open the model of a spec."""
        self.opened[spec.name] = FakeLLM(spec.path, self.pace_seconds, self.held)
        return self.opened[spec.name]
