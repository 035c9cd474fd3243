"""A sequence: token ids in, token ids out, one at a time, until it ends."""

from __future__ import annotations

import math
import sys
import time
from array import array
from collections.abc import Hashable, Iterator
from collections.abc import Sequence as TokenList
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from pacos.engine.context import Window
from pacos.engine.delivery import Delivery, Listener
from pacos.engine.sampler import Sampler
from pacos.errors import UsageError
from pacos.models import HIDDEN, LOGITS
from pacos.settings import GenerateOptions, QueueOptions, SamplingOptions
from pacos.types import ContextUse, PromptProgress, Timings, TokenScore

UNREAD_MAX = 8192  # events that may wait for a consumer; then the sequence waits for it


class Constraint(Protocol):
    """What tokens a sequence may go on with. Both methods are called on the engine's thread, by turns.

    To have a text end it allows end tokens alone. What it raises fails the sequence.
    """

    def mask(self) -> memoryview[int] | None:
        """Which tokens may come next; None for all. Valid until the next call.

        Shapes: u32 [ceil(V / 32)], bit t % 32 of word t // 32 is set when token t may.
        """

    def accept(self, token: int) -> None:
        """Go on past a token that was chosen."""


@dataclass(frozen=True, slots=True)
class SequenceRequest:
    """What to continue, how, and for whom; `end_ids` are the model's end tokens, `banned_ids` are never generated.

    `breakers` are token sequences that end what DRY takes for a repetition. A `constraint` is asked before each token
    and told of it after; it serves one sequence.
    """

    tokens: TokenList[int]
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    generate: GenerateOptions = field(default_factory=GenerateOptions)
    end_ids: frozenset[int] = frozenset()
    banned_ids: frozenset[int] = frozenset()
    queue: QueueOptions = field(default_factory=QueueOptions)
    breakers: TokenList[TokenList[int]] = ()
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Further tokens, or the end: then `finish_reason` is "stop", "length", "deadline" or "cancelled".

    One with `progress` has neither.
    """

    tokens: tuple[int, ...]
    finish_reason: str | None = None
    scores: tuple[TokenScore, ...] = ()
    progress: PromptProgress | None = None


class RowSink(Protocol):
    """Takes rows of the result of a sequence that generates nothing."""

    wanted: TokenList[int]  # places in the sequence whose rows are wanted, ascending

    def take(self, rows: memoryview[float], count: int) -> None:
        """The next `count` rows in order of `wanted`; f32 [count * width], valid during the call."""


def check_tokens(tokens: TokenList[int], vocab_size: int) -> None:
    """Errors: UsageError for no tokens, or one that is not in the vocabulary."""
    if len(tokens) == 0:
        raise UsageError("there are no tokens to start from", hint="give at least one, such as the model's BOS")
    if min(tokens) < 0 or max(tokens) >= vocab_size:
        bad = next(token for token in tokens if not 0 <= token < vocab_size)
        raise UsageError(f"token {bad} is not in the vocabulary", hint=f"use 0 to {vocab_size - 1}")


def source_salt(salt: str, source: array[int]) -> str:
    """The salt of what is computed of a source, which is seen whole: it serves none that begins alike."""
    return salt + source.tobytes().decode("latin-1")


class Line(Protocol):
    """What a sequence waits in, before it starts and between."""

    def position(self, sequence: Sequence) -> int:
        """Place in the queue, 1 is next; 0 when it does not wait."""

    def cancelled(self, sequence: Sequence) -> None:
        """It was cancelled, while waiting or not."""


class Sequence:
    """A sequence in the engine. What consumers use comes first, the rest is the engine's.

    A `listener` is told when `take` has something new.

    `text` is all of it, `tokens` is what the context holds.
    Of an encoder-decoder the first `source` tokens are what the encoder reads, which is done at once and whole.
    Units: `computed` tokens have their keys and values in `pages`; `published` of those pages are known to the pool.
    """

    __slots__ = (
        *("_cancelled", "_first_time", "_last_time", "_queue", "_start_time", "adapter_scales", "arrival"),
        "cached_tokens",
        *("checkpoint", "leads", "next_state", "state", "chosen_together"),
        *("computed", "constraint", "deadline", "delivery", "end_ids", "finish_reason", "interrupted"),
        *("last_tokens", "leader", "line", "listener", "owner", "page_keys", "pages", "parent", "post_sampling_scores"),
        *("prompt_tokens", "published", "rank", "result", "reuse", "rows_done", "salt", "sampler", "scores"),
        *("second", "sink", "source", "tells_progress", "text", "tokens", "window"),
    )

    def __init__(
        self,
        request: SequenceRequest,
        *,
        window: Window,
        sampler: Sampler | None = None,
        sink: RowSink | None = None,
        result: str = LOGITS,
        second: int = 0,
        decoded: int | None = None,
        scales: TokenList[float] = (),
        salt: str = "",
    ) -> None:
        generate, queue = request.generate, request.queue
        self.window = window
        self.text = self.tokens = window.fit(request.tokens)
        self.prompt_tokens = len(self.text)
        self.last_tokens = self.prompt_tokens + generate.n_predict if generate.n_predict >= 0 else sys.maxsize
        self.sampler = sampler
        self.constraint = request.constraint
        self.sink = sink
        self.result = result
        self.source = 0 if decoded is None else self.prompt_tokens - decoded  # `decoded` tokens at the end are answered
        self.second = second  # where the second of two texts that are compared begins; 0: there is one
        self.leader: Sequence | None = None  # starts with the same prompt: wait until it is computed
        self.leads = False  # is the leader of others
        own = frozenset() if generate.ignore_eos else request.end_ids
        self.end_ids: frozenset[int] = own.union(generate.stop_ids)
        self.salt = source_salt(salt or queue.cache_salt, self.text[: self.source])
        self.adapter_scales = array("f", scales)
        self.reuse = generate.cache_prompt
        self.scores = generate.scores
        self.post_sampling_scores = generate.post_sampling_scores
        self.tells_progress = generate.return_progress
        # Its tokens are chosen in one call with those of others: nobody asks before or after.
        self.chosen_together = sampler is not None and request.constraint is None and generate.scores < 0
        self.owner = queue.owner
        self.rank = queue.priority  # the scheduler lifts it when the wait becomes long
        self.arrival = 0
        self.deadline = time.perf_counter() + queue.deadline_seconds if queue.deadline_seconds else math.inf
        self.pages: array[int] = array("i")
        self.parent: Hashable = None
        self.published = 0
        self.page_keys: list[bytes] = []  # the scheduler's, names of pages on disk
        self.state = (
            self.next_state
        ) = -1  # slots of a recurrent model's state, after `computed` tokens and the next step
        self.checkpoint = -1  # where the state is to be kept
        self.computed = 0
        self.cached_tokens = 0
        self.rows_done = 0
        self.finish_reason: str | None = None
        self._queue: SimpleQueue[TokenEvent | BaseException] = SimpleQueue()
        self._cancelled = False
        self.listener: Listener | None = None
        self.delivery: Delivery | None = None  # the engine's, to tell the listener
        self.line: Line | None = None
        self.interrupted = False  # waits because it had to give way
        self._start_time = self._first_time = self._last_time = 0.0

    # For consumers, on any thread.

    def events(self) -> Iterator[TokenEvent]:
        """Tokens as they come, then one event that says why it ended. Leaving the loop early cancels the sequence.

        Errors: what made this sequence fail, such as NumericalError; Cancelled when the engine was closed.
        """
        try:
            while True:
                event = self.take()
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            self.cancel()

    def take(self) -> TokenEvent:
        """Wait for the next event, and take all that came since with it; after the last one it is given again.

        Errors: as `events`.
        """
        waiting = self._queue
        found = waiting.get()
        if isinstance(found, TokenEvent) and found.tokens and not waiting.empty():
            found = self._joined(found)
        if isinstance(found, TokenEvent):
            if found.finish_reason is not None:
                waiting.put(TokenEvent((), found.finish_reason))  # for whoever asks again
            return found
        waiting.put(found)
        raise found

    def _joined(self, first: TokenEvent) -> TokenEvent:
        """An event and those behind it as one: a consumer that is slower than the engine has fewer."""
        tokens, scores = [*first.tokens], [*first.scores]
        while not self._queue.empty():
            found = self._queue.get()
            if not isinstance(found, TokenEvent):
                self._queue.put(found)  # after what was chosen before it
                break
            tokens += found.tokens
            scores += found.scores
            if found.finish_reason is not None:
                return TokenEvent(tuple(tokens), found.finish_reason, tuple(scores))
        return TokenEvent(tuple(tokens), None, tuple(scores))

    @property
    def ready(self) -> bool:
        """Whether `take` need not wait."""
        return not self._queue.empty()

    def wait(self) -> list[int]:
        """All tokens to come, once it ended. Errors: as `events`."""
        return [token for event in self.events() for token in event.tokens]

    def cancel(self) -> None:
        """Stop soon, also in the middle of a step; no effect when it ended already."""
        self._cancelled = True
        if self.line is not None:
            self.line.cancelled(self)

    def queue_position(self) -> int:
        """How many sequences are to start until this one does, itself included, as things stand; 0 once it started."""
        return self.line.position(self) if self.line is not None and not self.finished else 0

    @property
    def seed(self) -> int:
        """The seed in use, also when none was given."""
        return self.sampler.options.seed if self.sampler is not None else 0

    def timings(self) -> Timings:
        """What it cost so far."""
        first = self._first_time or self._last_time
        return Timings(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            prompt_seconds=first - self._start_time if self._start_time else 0.0,
            generated_tokens=len(self.text) - self.prompt_tokens,
            generate_seconds=self._last_time - first,
        )

    def context_use(self) -> ContextUse:
        """What the context's size led to so far."""
        return self.window.use(full=self.finish_reason == "length" and len(self.text) < self.last_tokens)

    # For the engine, on its thread.

    @property
    def cancelled(self) -> bool:
        """Whether someone asked it to stop."""
        return self._cancelled

    @property
    def just_answered(self) -> bool:
        """Whether its first token is its last so far."""
        return len(self.text) - self.prompt_tokens == 1

    @property
    def stalled(self) -> bool:
        """Whether its consumer is so far behind that it shall not go on: what nobody reads would fill the memory."""
        return self._queue.qsize() >= UNREAD_MAX

    @property
    def remaining(self) -> int:
        """Tokens that are still to compute before the next one can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def runs(self) -> str:
        """The result whose program its next tokens go through: an encoder gives hidden states."""
        return HIDDEN if self.computed < self.source else self.result

    @property
    def reusable(self) -> int:
        """Tokens that need not be computed: all before the first whose logits are wanted."""
        last, sink = len(self.tokens) - 1, self.sink
        return min(last, sink.wanted[self.rows_done]) if sink is not None and sink.wanted else last

    def led(self, page_tokens: int) -> int:
        """Tokens of its next page that the sequence with the same prompt has computed."""
        leader = self.leader
        if leader is None or leader.tokens is not leader.text or len(leader.pages) <= len(self.pages):
            return 0
        end = min(self.reusable, leader.computed, leader.prompt_tokens)
        return min(page_tokens, end - self.computed)

    @property
    def has_all_rows(self) -> bool:
        """Whether its sink has every row that it wants; one that wants none is computed for its pages alone."""
        return self.sink is not None and 0 < len(self.sink.wanted) == self.rows_done

    @property
    def finished(self) -> bool:
        """Whether it ended, well or not."""
        return self.finish_reason is not None

    @property
    def answered(self) -> bool:
        """Whether its prompt has been computed and a token chosen."""
        return self._first_time > 0

    def started(self) -> None:
        """Note when it first got pages."""
        self._start_time = self._start_time or time.perf_counter()
        self.tell_progress()

    def tell_progress(self) -> None:
        """Give out how far the prompt is computed, where that is wanted."""
        if self.tells_progress and not self.answered:
            spent = time.perf_counter() - self._start_time
            counts = (self.prompt_tokens, self.cached_tokens, self.computed)
            self._give(TokenEvent((), progress=PromptProgress(*counts, spent)))

    def append(self, token: int, score: TokenScore | None = None) -> None:
        """Take the chosen token: give it out, or end."""
        now = time.perf_counter()
        self._last_time = now
        self._first_time = self._first_time or now
        if token in self.end_ids:
            self.finish("stop")
            return
        self.text.append(token)
        if self.tokens is not self.text:
            self.tokens.append(token)
        self._give(TokenEvent((token,), None, () if score is None else (score,)))
        if len(self.text) >= self.last_tokens or (self.crowded and not self.window.shifts):
            self.finish("length")

    def is_led_by(self, other: Sequence) -> bool:
        """Whether it may wait for another's prompt and share it."""
        return self.reuse and other.reuse and self.salt == other.salt and self.tokens == other.tokens

    @property
    def crowded(self) -> bool:
        """Whether the context is full."""
        return len(self.tokens) >= self.window.context_tokens

    def shift(self) -> None:
        """Leave older tokens out of the context; all that is left is to compute again."""
        self.tokens = self.window.shift(self.tokens)
        self.page_keys = []

    def finish(self, reason: str) -> None:
        """End it; consumers get the reason after the last token."""
        if self.finish_reason is None:
            self._last_time = self._last_time or time.perf_counter()
            self.finish_reason = reason
            self._give(TokenEvent((), reason))

    def fail(self, error: BaseException) -> None:
        """End it with an error that consumers get raised."""
        if self.finish_reason is None:
            self.finish_reason = "error"
            self._give(error)

    def _give(self, found: TokenEvent | BaseException) -> None:
        self._queue.put(found)
        if self.delivery is not None:
            self.delivery.note(self)
