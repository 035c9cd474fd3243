"""Answer batches in the background, some requests at a time, and go on after a restart where it was left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from pacos.log import logger
from pacos.server.dialects.batches import lines
from pacos.server.dialects.batches.asking import Asker
from pacos.server.dialects.batches.shapes import Batch, Errors, KeptBatch, LineError
from pacos.server.dialects.batches.store import Store

LINES_AT_ONCE = 8  # of all batches together


class Runner:
    """The batches that have not ended, each a task."""

    def __init__(self, store: Store, asker: Asker) -> None:
        self._store = store
        self._asker = asker
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(LINES_AT_ONCE)

    def begin(self, kept: KeptBatch) -> None:
        """Work on a batch, or go on with it."""
        name = kept.batch.id
        self._tasks[name] = asyncio.ensure_future(self._run(kept))
        self._tasks[name].add_done_callback(lambda _: self._tasks.pop(name, None))

    async def cancel(self, kept: KeptBatch) -> None:
        """Stop a batch; what it has answered stays."""
        kept.enter("cancelling")
        await asyncio.to_thread(self._store.save, kept)
        if task := self._tasks.get(kept.batch.id):
            task.cancel()

    async def close(self) -> None:
        """Leave all batches as they are."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, kept: KeptBatch) -> None:
        batch = kept.batch
        try:
            async with asyncio.timeout(max(0.0, batch.expires_at - time.time())):
                ending = await self._work(kept)
        except TimeoutError:
            ending = await asyncio.to_thread(self._expire, kept)
        except asyncio.CancelledError:
            if batch.status != "cancelling":
                raise  # the server ends: the batch goes on with the next one
            ending = "cancelled"
        except Exception as error:  # noqa: BLE001 - told in the batch
            logger(__name__).error("batch %s failed", batch.id, exc_info=error)
            batch.errors = Errors([LineError("internal_error", "a fault inside the server; its log says more")])
            ending = "failed"
        await asyncio.to_thread(self._store.finish, kept, ending)

    async def _work(self, kept: KeptBatch) -> str:
        batch = kept.batch
        if kept.ending is not None:
            return kept.ending
        if batch.status == "cancelling":
            return "cancelled"
        path = self._store.path(batch.input_file_id)
        if batch.status == "validating":
            if not await asyncio.to_thread(self._check, batch):
                return "failed"
            kept.enter("in_progress")
            await asyncio.to_thread(self._store.save, kept)
        opening = asyncio.ensure_future(asyncio.to_thread(self._answers, kept))
        try:
            answers = await asyncio.shield(opening)
            source, turn = lines.read_lines(path), asyncio.Lock()
            async with asyncio.TaskGroup() as group:
                for _ in range(LINES_AT_ONCE):
                    group.create_task(self._follow(kept, source, turn, answers))
        finally:
            (await opening).close()  # also when the batch is stopped while its files are being opened
        return "completed"

    def _check(self, batch: Batch) -> bool:
        """Count the requests; what is wrong with them stands in the batch."""
        path = self._store.path(batch.input_file_id)
        batch.request_counts.total, errors = lines.check(path, batch.endpoint)
        batch.errors = Errors(errors) if errors else None
        return not errors

    def _answers(self, kept: KeptBatch) -> lines.Answers:
        output, errors = (self._store.part(kept.batch, kind) for kind in ("output", "errors"))
        return lines.Answers(output, errors, kept.batch.request_counts)

    async def _follow(
        self, kept: KeptBatch, source: Iterator[tuple[int, bytes]], turn: asyncio.Lock, answers: lines.Answers
    ) -> None:
        while True:
            async with turn:
                found = await asyncio.to_thread(next, source, None)
            if found is None:
                return
            line = lines.parse(found[1])
            if not answers.has(line.custom_id):
                async with self._places:
                    reply = await self._asker.ask(kept.batch.endpoint, line.body, kept.owner)
                await asyncio.to_thread(answers.add, line.custom_id, reply)

    def _expire(self, kept: KeptBatch) -> str:
        """Tell of each request that was not answered in time, also when there was none even to check them."""
        batch = kept.batch
        if batch.status == "validating" and not self._check(batch):
            return "failed"
        answers = self._answers(kept)
        try:
            for _, data in lines.read_lines(self._store.path(batch.input_file_id)):
                line = lines.parse(data)
                error = {"code": "batch_expired", "message": "the batch's time was over before this was answered"}
                answers.add(line.custom_id, None, error)
        finally:
            answers.close()
        return "expired"
