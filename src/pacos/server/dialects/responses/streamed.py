"""A response in pieces: each item opens, grows and closes, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pacos.server.dialects.openai.scores import token_scores
from pacos.server.dialects.responses import reply
from pacos.server.dialects.responses.reply import COMPLETED, OutputItem, StreamEvent
from pacos.types import Event, ToolCallDelta

if TYPE_CHECKING:
    from pacos.llm import LLM

_WORDS = {"message": "output_text", "reasoning": "reasoning_text"}


class Items:
    """The items of a streamed response; the last one of `done` is complete when `end` was called."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._scores: list[dict[str, Any]] = []
        self.done: list[OutputItem] = []
        self._open: OutputItem | None = None
        self._call = -1  # the index of the call that is open
        self._text = ""

    def pieces(self, one: Event) -> Iterator[StreamEvent]:
        """The events that an event of ours becomes."""
        if one.reasoning:
            yield from self._switch("reasoning", reply.thought("", "in_progress"))
            yield from self._grow(one.reasoning)
        if one.text:
            yield from self._switch("message", reply.message("", "in_progress"))
            yield from self._grow(one.text, token_scores(self._llm, one.scores))
        for call in one.tool_calls:
            if self._kind != "function_call" or call.index != self._call:
                self._call = call.index
                begun = ToolCallDelta(call.index, call.id, call.name)
                yield from self._switch("", reply.called(begun, "in_progress"))
            if call.arguments:
                yield from self._grow(call.arguments)

    def end(self) -> Iterator[StreamEvent]:
        """Close what is open; an answer without anything has one empty message."""
        if not self.done and self._open is None:
            yield from self._switch("message", reply.message("", "in_progress"))
        yield from self._close()

    @property
    def _kind(self) -> str:
        return self._open.type if self._open is not None else ""

    def _event(self, kind: str, **fields: object) -> StreamEvent:
        item_id = self._open.id if self._open is not None and "item" not in fields else None
        return StreamEvent(kind, output_index=len(self.done), item_id=item_id, **fields)  # type: ignore[arg-type]

    def _switch(self, kind: str, item: OutputItem) -> Iterator[StreamEvent]:
        if kind and self._kind == kind:
            return
        yield from self._close()
        self._open, self._text, self._scores = item, "", []
        yield self._event("response.output_item.added", item=item)
        if item.type == "message":
            yield self._event("response.content_part.added", content_index=0, part=reply.said(""))

    def _grow(self, text: str, scores: Sequence[dict[str, Any]] = ()) -> Iterator[StreamEvent]:
        self._text += text
        self._scores += scores
        if self._kind == "function_call":
            yield self._event("response.function_call_arguments.delta", delta=text)
            return
        extra = {"logprobs": list(scores)} if self._kind == "message" else {}
        yield self._event(f"response.{_WORDS[self._kind]}.delta", content_index=0, delta=text, **extra)

    def _close(self) -> Iterator[StreamEvent]:
        item = self._open
        if item is None:
            return
        text = self._text
        if item.type == "function_call":
            item.arguments = text
            yield self._event("response.function_call_arguments.done", arguments=text, name=item.name)
        elif item.type == "reasoning":
            item.content = [reply.OutputText("reasoning_text", text)]
            yield self._event("response.reasoning_text.done", content_index=0, text=text)
        else:
            item.content = [reply.said(text, self._scores)]
            yield self._event("response.output_text.done", content_index=0, text=text, logprobs=self._scores)
            yield self._event("response.content_part.done", content_index=0, part=item.content[0])
        item.status = COMPLETED
        yield self._event("response.output_item.done", item=item)
        self.done.append(item)
        self._open = None
