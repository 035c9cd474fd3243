"""The events of one answer, from token ids to text."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from pacos.types import Completion, Event, Timings, ToolCallDelta

if TYPE_CHECKING:
    from pacos.engine.sequence import Sequence
    from pacos.llm import LLM
    from pacos.text.tokenizer import Tokenizer


class Stream:
    """Events of one answer as they come. Closing or dropping it cancels the sequence."""

    def __init__(self, llm: LLM, sequence: Sequence, stop: tuple[str, ...]) -> None:
        self._sequence = sequence
        self._llm = llm  # kept open while there is a stream
        self._events = _text_events(sequence, llm.tokenizer, stop)
        self.prompt_token_ids = tuple(sequence.tokens[: sequence.prompt_tokens])

    @property
    def seed(self) -> int:
        """The seed in use, also when none was given."""
        return self._sequence.seed

    def cancel(self) -> None:
        """Have the answer end soon with a last event "cancelled"; from any thread."""
        self._sequence.cancel()

    def close(self) -> None:
        """Stop; there are no more events."""
        self._sequence.cancel()
        self._events.close()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._sequence.cancel()


def _text_events(sequence: Sequence, tokenizer: Tokenizer, stop: tuple[str, ...]) -> Generator[Event, None, None]:
    from pacos.text.stream import StopStrings, Utf8Stream

    decoder, stops = Utf8Stream(), StopStrings(stop)
    try:
        for event in sequence.events():
            text = "".join(decoder.feed(tokenizer.piece(token)) for token in event.tokens)
            shown, stopped = stops.feed(text)
            reason = event.finish_reason
            if stopped:
                sequence.cancel()
                yield Event(shown, event.tokens, "stop", stops.stop, sequence.timings())
                return
            if reason is not None:
                tail, stopped = stops.feed(decoder.flush())
                shown += tail if stopped else tail + stops.flush()
                yield Event(shown, event.tokens, "stop" if stopped else reason, stops.stop, sequence.timings())
                return
            yield Event(shown, event.tokens)
    finally:
        sequence.cancel()


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
    )


def _whole_calls(deltas: Iterable[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    calls: dict[int, ToolCallDelta] = {}
    for delta in deltas:
        begun = calls.get(delta.index)
        calls[delta.index] = replace(begun, arguments=begun.arguments + delta.arguments) if begun else delta
    return tuple(calls[index] for index in sorted(calls))
