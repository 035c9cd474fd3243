"""The events of one answer, from token ids to text: an iterator and an async iterator.

for event in llm.stream("Once"): ...
async for event in llm.stream("Once"): ...
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from pacos.llm.loops import news
from pacos.types import Completion, Event, Timings, ToolCallDelta

if TYPE_CHECKING:
    from pacos.engine.sequence import Sequence as EngineSequence
    from pacos.llm import LLM
    from pacos.text.tokenizer import Tokenizer


class Decoder(Protocol):
    """Makes events of tokens, whoever brings them and whenever."""

    def push(self, tokens: Sequence[int], finish_reason: str | None) -> Event:
        """What these tokens add; a finish_reason in the event ends the answer, perhaps before the model does."""


class TextDecoder:
    """Plain text: incomplete UTF-8 waits, a stop string is held back until it is decided.

    Control tokens are no part of the text, but for those that shall be `shown`.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Iterable[str] = (), shown: frozenset[int] = frozenset()) -> None:
        from pacos.text.stream import StopStrings, Utf8Stream

        self._piece = tokenizer.piece
        self._shown = shown
        self._utf8 = Utf8Stream()
        self._stops = StopStrings(stop)

    def push(self, tokens: Sequence[int], finish_reason: str | None) -> Event:
        """The text that is certain now. Tokens after a stop string are no part of the answer."""
        utf8, stops = self._utf8, self._stops
        text, stopped, used = "", False, 0
        while used < len(tokens) and not stopped:
            token = tokens[used]
            more, stopped = stops.feed(utf8.feed(self._piece(token, special=token in self._shown)))
            text += more
            used += 1
        if finish_reason is not None and not stopped:
            tail, stopped = stops.feed(utf8.flush())
            text += tail if stopped else tail + stops.flush()
        return Event(text, tuple(tokens[:used]), "stop" if stopped else finish_reason, stops.stop)


class Stream:
    """Events of one answer as they come, to a thread that waits or to an event loop, but to one consumer.

    Closing or dropping it cancels the sequence. To cancel the wait for an event, as asyncio.wait_for does, loses
    nothing: the stream goes on.
    """

    def __init__(self, llm: LLM, sequence: EngineSequence, decoder: Decoder) -> None:
        self._sequence = sequence
        self._llm = llm  # kept open while there is a stream
        self._decoder = decoder
        self._ended = False
        self.prompt_token_ids = tuple(sequence.text[: sequence.prompt_tokens])

    @property
    def seed(self) -> int:
        """The seed in use, also when none was given."""
        return self._sequence.seed

    @property
    def queue_position(self) -> int:
        """Its place among those that wait, 1 is next; 0 once it started."""
        return self._sequence.queue_position()

    @property
    def token_ids(self) -> array[int]:
        """All tokens so far, the prompt's included."""
        return self._sequence.text[:]

    def timings(self) -> Timings:
        """What it cost so far."""
        return self._sequence.timings()

    def cancel(self) -> None:
        """Have the answer end soon with a last event "cancelled"; from any thread."""
        self._sequence.cancel()

    def close(self) -> None:
        """Stop; there are no more events."""
        self._ended = True
        self._sequence.cancel()

    async def aclose(self) -> None:
        """As `close`, for contextlib.aclosing."""
        self.close()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Event:
        if self._ended:
            raise StopIteration
        return self._event()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        while not self._ended:
            if self._sequence.ready:
                return self._event()
            await news(self._sequence)
        raise StopAsyncIteration

    def _event(self) -> Event:
        try:
            found = self._sequence.take()
            if found.progress is not None:
                return Event("", progress=found.progress)
            event = self._decoder.push(found.tokens, found.finish_reason)
        except BaseException:
            self.close()
            raise
        if found.scores:
            event = replace(event, scores=found.scores[: len(event.token_ids)])
        if event.finish_reason is None:
            return event
        self.close()
        return replace(event, timings=self._sequence.timings(), context=self._sequence.context_use())

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._sequence.cancel()


def collected(events: Iterable[Event], prompt_token_ids: tuple[int, ...] = ()) -> Completion:
    """The whole answer that these events are pieces of."""
    pieces = tuple(events)
    last = pieces[-1]
    return Completion(
        text="".join(event.text for event in pieces),
        token_ids=tuple(token for event in pieces for token in event.token_ids),
        prompt_token_ids=prompt_token_ids,
        finish_reason=last.finish_reason or "stop",
        timings=last.timings or Timings(),
        stop_string=last.stop_string,
        reasoning="".join(event.reasoning for event in pieces),
        tool_calls=_whole_calls(delta for event in pieces for delta in event.tool_calls),
        scores=tuple(score for event in pieces for score in event.scores),
        context=last.context,
    )


def _whole_calls(deltas: Iterable[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    calls: dict[int, ToolCallDelta] = {}
    for delta in deltas:
        begun = calls.get(delta.index)
        calls[delta.index] = replace(begun, arguments=begun.arguments + delta.arguments) if begun else delta
    return tuple(calls[index] for index in sorted(calls))
