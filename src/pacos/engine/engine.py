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
import time
from array import array
from collections.abc import Callable
from collections.abc import Sequence as TokenList

from pacos.backends import Pages, Program
from pacos.engine.adapter_scales import AdapterScales
from pacos.engine.choosing import SampledRows, choose, chosen_together
from pacos.engine.context import Window
from pacos.engine.delivery import Delivery
from pacos.engine.errands import Errands
from pacos.engine.identity import Identity
from pacos.engine.lanes import Lane, Lanes
from pacos.engine.pages import PagePool
from pacos.engine.pooling import CopiedRows
from pacos.engine.queue import Queue
from pacos.engine.sampler import Sampler, SamplerScratch, checked_token
from pacos.engine.saved import SavedTexts
from pacos.engine.scheduler import Part, Scheduler
from pacos.engine.scoring import ScoredRows, TopRows
from pacos.engine.sequence import RowSink, Sequence, SequenceRequest, check_tokens
from pacos.engine.snapshot import PromptCache
from pacos.engine.source import decoded_tokens, with_start
from pacos.engine.states import StatePool
from pacos.engine.statistics import Statistics
from pacos.engine.stepping import Stepping
from pacos.errors import Cancelled, PacosError, UsageError
from pacos.log import logger
from pacos.models import LOGITS
from pacos.native import address_of
from pacos.settings import GenerateOptions, QueueOptions, SamplingOptions
from pacos.types import TokenScore

_STALLED_SECONDS = 0.01  # between looks whether consumers have caught up
_SAVE_SECONDS = 0.002  # between pages that are saved while there is nothing else to do


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
        start_token: int = -1,
        queue_places: int = 0,
        prompt_cache: PromptCache | None = None,
        identity: Callable[[], Identity] | None = None,
        adapters: AdapterScales | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.program = program
        self.pages = pages
        self.adapters = adapters or AdapterScales()
        self.context_tokens = context_tokens
        self.vocab_size = vocab_size or program.result_width
        self.causal = causal  # else a sequence is computed in one step, and generates nothing
        self.start_token = start_token  # of the decoder, when an encoder reads the prompt; else -1
        self.pool = PagePool(pages.count, pages.layout.page_tokens, pages.copy)
        if pages.count * pages.layout.page_tokens < context_tokens:
            raise UsageError(f"{pages.count} pages do not hold a context of {context_tokens} tokens")
        self._on_close = on_close
        self._scratch = SamplerScratch(self.vocab_size)
        self._sampled = SampledRows(self._scratch)
        self._stepping = Stepping()
        self._queue = Queue(queue_places, self._stepping.interrupt)
        self._scheduler = Scheduler(
            *(self.pool, program.max_tokens, self._queue),
            whole=not causal,
            prompt_cache=prompt_cache,
            states=StatePool(pages.slots, pages.layout.page_tokens) if pages.layout.states else None,
        )
        self._prompt_cache = prompt_cache
        self._lanes = lanes or Lanes(LOGITS, program)
        self._delivery = Delivery()
        self._tokens_generated = 0
        self._wake = threading.Condition()
        self._closed = False
        self._errands = Errands(self._notify)
        self.texts = SavedTexts(self.pool, pages, self._errands, identity, self.adapters.salted, start_token)
        self._moved, self._asleep = time.monotonic(), True  # when it last did something; whether it has nothing to do
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
        sequences = [self._made(request) for request in requests]
        for sequence in sequences[1:]:
            if sequence.is_led_by(sequences[0]):
                sequence.leader = sequences[0]
                sequences[0].leads = True
        self._enter(sequences)
        return sequences

    def statistics(self) -> Statistics:
        """What it does now and has done so far; from any thread, at any time."""
        scheduler, pool, waiting = self._scheduler, self.pool, len(self._queue)
        cache = self._prompt_cache
        cached, free = pool.cached, pool.available - pool.cached
        return Statistics(
            running=len(scheduler.running),
            waiting=waiting,
            context_tokens=self.context_tokens,
            page_tokens=pool.page_tokens,
            pages=pool.count,
            pages_held=max(0, pool.count - cached - free),
            pages_cached=cached,
            pages_free=free,
            steps=self._stepping.steps,
            sequences=scheduler.sequences,
            tokens_computed=scheduler.tokens_computed,
            tokens_generated=self._tokens_generated,
            tokens_reused=scheduler.tokens_reused,
            prompts_reused=scheduler.prompts_reused,
            preemptions=scheduler.preemptions,
            shifts=scheduler.shifts,
            pages_restored=cache.pages_restored if cache is not None else 0,
            pages_saved=cache.pages_saved if cache is not None else 0,
            stalled_seconds=0.0 if self._asleep else time.monotonic() - self._moved,
        )

    def logits(self, token_ids: TokenList[int], outputs: TokenList[int], source: TokenList[int] = ()) -> array[float]:
        """Logits after some of the tokens; an encoder-decoder reads the `source`, its decoder has written the tokens.

        Shapes: T token ids, R places in them, ascending -> f32 [R * V]. Errors: as `submit_rows`.
        """
        sink = CopiedRows([len(source) + place for place in outputs])
        self.submit_rows([*source, *token_ids], sink, source=len(source)).wait()
        return sink.rows

    def token_scores(self, token_ids: TokenList[int], first: int = 0, top: int = 0) -> list[TokenScore]:
        """Log-probability of each token from first + 1 on, given those before it, and of the `top` likeliest there.

        Shapes: T token ids -> T - 1 - first scores. Errors: as `submit`, NumericalError.
        """
        sink = TopRows(token_ids, range(first, len(token_ids) - 1), top, Sampler(SamplingOptions(), self._scratch))
        self.submit_rows(token_ids, sink).wait()
        return sink.scores

    def log_probabilities(self, token_ids: TokenList[int], first: int = 0, source: TokenList[int] = ()) -> list[float]:
        """Log-probability of each token from first + 1 on, given those before it; memory for one step's rows only.

        Units: natural logarithm. Shapes: T token ids -> T - 1 - first numbers. Errors: as `submit`, NumericalError.
        """
        tokens = [*source, *token_ids]
        sink = ScoredRows(tokens, range(len(source) + first, len(tokens) - 1))
        self.submit_rows(tokens, sink, source=len(source)).wait()
        return sink.scores

    def submit_rows(
        self,
        token_ids: TokenList[int],
        sink: RowSink,
        result: str = LOGITS,
        *,
        queue: QueueOptions | None = None,
        second: int = 0,
        source: int = 0,
    ) -> Sequence:
        """Start a sequence that generates nothing: the rows of the result that its sink wants go there.

        `second` is where the second of two texts begins for a model that compares them; 0: there is one. So many of the
        first tokens are the `source` of a decoder's logits.
        Errors: as `submit`; UsageError for places out of order or range, or a result that the model does not have.
        """
        check_tokens(token_ids, self.vocab_size)
        wanted = sink.wanted
        if any(later <= place for place, later in itertools.pairwise(wanted)):
            raise UsageError("outputs are not ascending", hint="name each place once, in order")
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(token_ids):
            raise UsageError(f"outputs run from {wanted[0]} to {wanted[-1]}", hint=f"there are {len(token_ids)} tokens")
        self._lanes.prepare(result)
        generate = GenerateOptions(n_predict=0, cache_prompt=self.causal)
        request = SequenceRequest(token_ids, generate=generate, queue=queue or QueueOptions())
        window = Window(self.context_tokens, generate)
        decoded = decoded_tokens(self.start_token, len(token_ids), source, result)
        acting = self.adapters.acting_on(request, decoded=decoded)
        sequence = Sequence(request, window=window, sink=sink, result=result, second=second, **acting)
        self._enter([sequence])
        return sequence

    def program_of(self, result: str) -> Program:
        """What computes a result. Errors: UsageError when the model does not have it."""
        return self._lanes.prepare(result).program

    def close(self) -> None:
        """Fail what is not finished and wait until the program is freed; safe to call twice, and from any thread."""
        if os.getpid() != self._process:
            return  # a fork copies no threads: nothing runs here, and nothing may be waited for
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._stepping.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _made(self, request: SequenceRequest) -> Sequence:
        if not self.causal:
            raise UsageError("this model is an encoder: it generates no text", hint="use `pacos embed` or LLM.embed")
        generate = request.generate
        check_tokens(request.tokens, self.vocab_size)
        if bad := next((token for token in generate.stop_ids if token >= self.vocab_size), None):
            raise UsageError(f"stop_ids has token {bad}", hint=f"the model has {self.vocab_size} tokens")
        sampler = None
        if generate.n_predict != 0:
            banned = request.banned_ids.union(request.end_ids if generate.ignore_eos else ())
            sampler = Sampler(request.sampling, self._scratch, banned, request.breakers)
        request, decoded = with_start(request, self.start_token)
        acting = self.adapters.acting_on(request, decoded=decoded)
        return Sequence(request, window=Window(self.context_tokens, generate), sampler=sampler, **acting)

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
                self._moved = time.monotonic()
                self._errands.run()
                if scheduler.idle:
                    self._sleep()
                else:
                    self._step()
                    self._delivery.flush()
                if self._prompt_cache is not None:
                    self._prompt_cache.work()
        except BaseException as error:  # noqa: BLE001 - consumers must hear of it instead of waiting for ever
            reason = error
            logger(__name__).exception("the engine stopped")
        with self._wake:
            self._closed = True
        self._errands.close(UsageError("the engine is closed"))
        for sequence in list(scheduler):
            sequence.fail(reason)
            scheduler.retire(sequence)
        self._delivery.flush()
        if self._prompt_cache is not None:
            self._prompt_cache.close()
        self._lanes.close()
        if self._on_close is not None:
            self._on_close()

    def _sleep(self) -> None:
        saving = self._prompt_cache is not None and self._prompt_cache.pending
        with self._wake:
            while self._scheduler.idle and not self._closed and not self._errands:
                self._asleep = True
                self._wake.wait(_SAVE_SECONDS if saving else None)
                if saving:
                    break
            self._moved, self._asleep = time.monotonic(), False

    def _step(self) -> None:
        ready = self._scheduler.next_parts()
        if not ready:
            self._wait_for_consumers()
        for lane, parts in self._lanes.divided(ready):
            step, parts, rows = lane.batch.build(parts)
            try:
                found = self._stepping.run(lane.program, step, parts)
            except Cancelled:
                continue  # nothing was computed; whoever still wants it gets the step again
            except Exception as error:  # noqa: BLE001 - find out whose fault it is
                self._step_apart(lane, parts, error)
                continue
            self._deliver(parts, rows, found, lane.program.result_width)

    def _wait_for_consumers(self) -> None:
        if any(sequence.stalled for sequence in self._scheduler):
            with self._wake:
                self._wake.wait(_STALLED_SECONDS)

    def _step_apart(self, lane: Lane, parts: list[Part], error: Exception) -> None:
        """After a failed step, run each sequence alone, so that only the one at fault fails."""
        logger(__name__).warning("a step failed: %s", error)
        for part in parts:
            alone = error
            if len(parts) > 1:
                step, kept, rows = self._lanes.batch(lane.program).build([part])
                try:
                    self._deliver(kept, rows, self._stepping.run(lane.program, step, kept), lane.program.result_width)
                    continue
                except Cancelled:
                    continue
                except Exception as again:  # noqa: BLE001 - it is this sequence's
                    alone = again
            self._fail(part[0], alone)

    def _deliver(self, parts: list[Part], rows: list[int], found: memoryview[float], width: int) -> None:
        address, row_bytes, row = address_of(found), 4 * width, 0
        chosen = chosen_together(self._sampled, parts, rows, address, row_bytes)
        for (sequence, count), row_count in zip(parts, rows, strict=True):
            token = next(chosen) if row_count and sequence.chosen_together else None
            try:
                self._scheduler.computed(sequence, count)
                sequence.tell_progress()
                if token is not None:
                    self._append(sequence, checked_token(token, len(sequence.text)), None)
                elif row_count and sequence.sampler is not None:
                    self._append(sequence, *choose(sequence, sequence.sampler, address + row * row_bytes))
                else:
                    self._take_rows(sequence, found[row * width : (row + row_count) * width], row_count)
                if sequence.finished:
                    self._scheduler.retire(sequence)
            except Exception as error:  # noqa: BLE001 - it is this sequence's alone
                self._fail(sequence, error)
            row += row_count

    def _append(self, sequence: Sequence, token: int, score: TokenScore | None) -> None:
        sequence.append(token, score)
        self._tokens_generated += 1
        if sequence.crowded and not sequence.finished:
            self._scheduler.shift(sequence)

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
