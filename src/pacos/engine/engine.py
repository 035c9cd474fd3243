"""The engine: one thread that steps while there is work, and the sequences that others hand to it.

    engine.submit(request) -> Sequence          from any thread
    for event in sequence.events(): ...         on the consumer's thread

A step is: drop what was cancelled, choose parts, run the program once, then choose a token for each sequence that
came to its end. What goes wrong for one sequence fails that sequence; the others do not notice.
"""

from __future__ import annotations

import itertools
import os
import threading
from array import array
from collections.abc import Callable
from collections.abc import Sequence as TokenList

from pacos.backends import Pages, Program
from pacos.engine.delivery import Delivery
from pacos.engine.lanes import Lane, Lanes
from pacos.engine.pages import PagePool
from pacos.engine.pooling import CopiedRows
from pacos.engine.queue import Queue
from pacos.engine.sampler import Sampler, SamplerScratch, log_probabilities
from pacos.engine.scheduler import Part, Scheduler
from pacos.engine.sequence import RowSink, Sequence, SequenceRequest
from pacos.errors import Cancelled, ContextFull, PacosError, UsageError
from pacos.log import logger
from pacos.models import LOGITS
from pacos.native import address_of
from pacos.settings import GenerateOptions
from pacos.types import Step


class Engine:
    """Computes sequences over one program and its pages; safe from many threads; close it."""

    def __init__(
        self,
        program: Program,
        pages: Pages,
        context_tokens: int,
        *,
        lanes: Lanes | None = None,
        vocab_size: int = 0,
        causal: bool = True,
        queue_places: int = 0,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.program = program
        self.pages = pages
        self.context_tokens = context_tokens
        self.vocab_size = vocab_size or program.result_width
        self.causal = causal  # else a sequence is computed in one step, and generates nothing
        self.pool = PagePool(pages.count, pages.layout.page_tokens, pages.copy)
        if pages.count * pages.layout.page_tokens < context_tokens:
            raise UsageError(f"{pages.count} pages do not hold a context of {context_tokens} tokens")
        self._on_close = on_close
        self._scratch = SamplerScratch(self.vocab_size)
        self._queue = Queue(queue_places, self._interrupt)
        self._scheduler = Scheduler(self.pool, program.max_tokens, self._queue, whole=not causal)
        self._lanes = lanes or Lanes(LOGITS, program)
        self._delivery = Delivery()
        self._wake = threading.Condition()
        self._closed = False
        self._stepping: list[Part] = []  # what a program computes now, and which one; under _wake
        self._running = program
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._work, name="pacos-engine", daemon=True)
        self._thread.start()

    def submit(self, request: SequenceRequest) -> Sequence:
        """Start a sequence.

        Errors: ContextFull when its tokens do not fit; UsageError for no tokens, or ids outside the vocabulary;
        CapacityError when the queue is full.
        """
        return self.submit_together((request,))[0]

    def submit_together(self, requests: TokenList[SequenceRequest]) -> list[Sequence]:
        """Start sequences, all or none. Those with the first one's prompt wait until it is computed, and share it.

        Errors: as `submit`.
        """
        sequences: list[Sequence] = []
        for request in requests:
            self._check_request(request)
            same = bool(sequences) and request.generate.cache_prompt and request.tokens == requests[0].tokens
            sequences.append(self._made(request, leader=sequences[0] if same else None))
        self._enter(sequences)
        return sequences

    def logits(self, token_ids: TokenList[int], outputs: TokenList[int]) -> array[float]:
        """Logits after some of the tokens, computed through the same steps as everything else.

        Shapes: T token ids, R places in them, ascending -> f32 [R * V]. Errors: as `submit`.
        """
        sink = CopiedRows(outputs)
        self.submit_rows(token_ids, sink).wait()
        return sink.rows

    def log_probabilities(self, token_ids: TokenList[int], first: int = 0) -> list[float]:
        """Log-probability of each token from first + 1 on, given those before it; memory for one step's rows only.

        Units: natural logarithm. Shapes: T token ids -> T - 1 - first numbers. Errors: as `submit`, NumericalError.
        """
        sink = _ScoredRows(token_ids, range(first, len(token_ids) - 1))
        self.submit_rows(token_ids, sink).wait()
        return sink.scores

    def submit_rows(self, token_ids: TokenList[int], sink: RowSink, result: str = LOGITS) -> Sequence:
        """Start a sequence that generates nothing: the rows of the result that its sink wants go there.

        Errors: as `submit`; UsageError for places out of order or range, or a result that the model does not have.
        """
        self._check_tokens(token_ids, room=0)
        wanted = sink.wanted
        if any(later <= place for place, later in itertools.pairwise(wanted)):
            raise UsageError("outputs are not ascending", hint="name each place once, in order")
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(token_ids):
            raise UsageError(f"outputs run from {wanted[0]} to {wanted[-1]}", hint=f"there are {len(token_ids)} tokens")
        self._lanes.prepare(result)
        request = SequenceRequest(token_ids, generate=GenerateOptions(n_predict=0, cache_prompt=self.causal))
        sequence = Sequence(request, last_tokens=len(token_ids), sink=sink, result=result)
        self._enter([sequence])
        return sequence

    def result_width(self, result: str) -> int:
        """Floats in a row of a result. Errors: UsageError when the model does not have it."""
        return self._lanes.prepare(result).program.result_width

    def close(self) -> None:
        """Fail what is not finished and wait until the program is freed; safe to call twice, and from any thread."""
        if os.getpid() != self._process:
            return  # a fork copies no threads: nothing runs here, and nothing may be waited for
        with self._wake:
            self._closed = True
            self._wake.notify()
            self._interrupt()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _interrupt(self) -> None:
        """Cut the step short when nobody wants what it computes."""
        if os.getpid() != self._process:
            return
        with self._wake:
            if self._unwanted(self._stepping):
                self._running.cancel()

    def _unwanted(self, parts: list[Part]) -> bool:
        return bool(parts) and (self._closed or all(sequence.cancelled for sequence, _ in parts))

    def _check_request(self, request: SequenceRequest) -> None:
        if not self.causal:
            raise UsageError("this model is an encoder: it generates no text", hint="use `pacos embed` or LLM.embed")
        generate = request.generate
        self._check_tokens(request.tokens, room=0 if generate.n_predict == 0 else 1)
        if bad := next((token for token in generate.stop_ids if token >= self.vocab_size), None):
            raise UsageError(f"stop_ids has token {bad}", hint=f"the model has {self.vocab_size} tokens")

    def _made(self, request: SequenceRequest, leader: Sequence | None) -> Sequence:
        generate = request.generate
        last = self.context_tokens
        if generate.n_predict >= 0:
            last = min(last, len(request.tokens) + generate.n_predict)
        sampler = None
        if generate.n_predict != 0:
            banned = request.banned_ids.union(request.end_ids if generate.ignore_eos else ())
            sampler = Sampler(request.sampling, self._scratch, banned, request.breakers)
        return Sequence(request, last_tokens=last, sampler=sampler, leader=leader)

    def _check_tokens(self, tokens: TokenList[int], room: int) -> None:
        if len(tokens) == 0:
            raise UsageError("there are no tokens to start from", hint="give at least one, such as the model's BOS")
        if len(tokens) + room > self.context_tokens:
            raise ContextFull(
                f"{len(tokens)} tokens do not fit a context of {self.context_tokens}",
                hint=f"at most {self.context_tokens - room} fit; shorten the prompt or raise --ctx-size",
            )
        if min(tokens) < 0 or max(tokens) >= self.vocab_size:
            bad = next(token for token in tokens if not 0 <= token < self.vocab_size)
            raise UsageError(f"token {bad} is not in the vocabulary", hint=f"use 0 to {self.vocab_size - 1}")

    def _enter(self, sequences: list[Sequence]) -> None:
        if os.getpid() != self._process:
            raise UsageError("the model was opened in another process", hint="load it after the fork")
        for sequence in sequences:
            sequence.delivery = self._delivery
        with self._wake:
            if self._closed:
                raise UsageError("the engine is closed")
            self._queue.add(sequences)
            self._wake.notify()

    # On the engine's thread.

    def _work(self) -> None:
        scheduler = self._scheduler
        reason: BaseException = Cancelled("the engine was closed")
        try:
            while not self._closed:
                if scheduler.idle:
                    self._sleep()
                else:
                    self._step()
                    self._delivery.flush()
        except BaseException as error:  # noqa: BLE001 - consumers must hear of it instead of waiting for ever
            reason = error
            logger(__name__).exception("the engine stopped")
        with self._wake:
            self._closed = True
        for sequence in list(scheduler):
            sequence.fail(reason)
            scheduler.retire(sequence)
        self._delivery.flush()
        self._lanes.close()
        if self._on_close is not None:
            self._on_close()

    def _sleep(self) -> None:
        with self._wake:
            while self._scheduler.idle and not self._closed:
                self._wake.wait()

    def _step(self) -> None:
        for lane, parts in self._lanes.divided(self._scheduler.next_parts()):
            step, parts, rows = lane.batch.build(parts)
            try:
                found = self._run(lane.program, step, parts)
            except Cancelled:
                continue  # nothing was computed; whoever still wants it gets the step again
            except Exception as error:  # noqa: BLE001 - find out whose fault it is
                self._step_apart(lane, parts, error)
                continue
            self._deliver(parts, rows, found, lane.program.result_width)

    def _run(self, program: Program, step: Step, parts: list[Part]) -> memoryview[float]:
        """Run a step that cancelling all its sequences, or closing, cuts short.

        A cancel that comes too late for this step ends the next one, which `_step` then repeats.
        """
        with self._wake:
            if self._unwanted(parts):
                raise Cancelled("nobody wants the step")
            self._stepping, self._running = parts, program
        try:
            return program.run(step)
        finally:
            with self._wake:
                self._stepping = []

    def _step_apart(self, lane: Lane, parts: list[Part], error: Exception) -> None:
        """After a failed step, run each sequence alone, so that only the one at fault fails."""
        logger(__name__).warning("a step failed: %s", error)
        for part in parts:
            alone = error
            if len(parts) > 1:
                step, kept, rows = self._lanes.batch(lane.program).build([part])
                try:
                    self._deliver(kept, rows, self._run(lane.program, step, kept), lane.program.result_width)
                    continue
                except Cancelled:
                    continue
                except Exception as again:  # noqa: BLE001 - it is this sequence's
                    alone = again
            self._fail(part[0], alone)

    def _deliver(self, parts: list[Part], rows: list[int], found: memoryview[float], width: int) -> None:
        address, row_bytes, row = address_of(found), 4 * width, 0
        for (sequence, count), row_count in zip(parts, rows, strict=True):
            try:
                self._scheduler.computed(sequence, count)
                if row_count and sequence.sampler is not None:
                    sequence.append(_chosen(sequence, sequence.sampler, address + row * row_bytes))
                else:
                    self._take_rows(sequence, found[row * width : (row + row_count) * width], row_count)
                if sequence.finished:
                    self._scheduler.retire(sequence)
            except Exception as error:  # noqa: BLE001 - it is this sequence's alone
                self._fail(sequence, error)
            row += row_count

    def _take_rows(self, sequence: Sequence, rows: memoryview[float], count: int) -> None:
        if sequence.sink is not None and count:
            sequence.sink.take(rows, count)
            sequence.rows_done += count
        if sequence.remaining == 0 or sequence.has_all_rows:
            sequence.finish("length")

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        failure = error if isinstance(error, PacosError) else PacosError(f"a sequence failed: {error!r}")
        failure.__cause__ = None if failure is error else error
        sequence.fail(failure)
        self._scheduler.retire(sequence, keep=False)


def _chosen(sequence: Sequence, sampler: Sampler, logits: int) -> int:
    """The token after a sequence, from the row of logits at this address."""
    constraint = sequence.constraint
    if constraint is None:
        return sampler.next_token(logits, sequence.tokens)
    token = sampler.next_token(logits, sequence.tokens, constraint.mask())
    constraint.accept(token)
    return token


class _ScoredRows:
    """Keeps the log-probability that each row gives to the token after it."""

    def __init__(self, tokens: TokenList[int], wanted: TokenList[int]) -> None:
        self.wanted = wanted
        self.scores: list[float] = []
        self._next = array("i", tokens[wanted[0] + 1 :] if wanted else ())

    def take(self, rows: memoryview[float], count: int) -> None:
        done = len(self.scores)
        self.scores += log_probabilities(rows, self._next[done : done + count])
