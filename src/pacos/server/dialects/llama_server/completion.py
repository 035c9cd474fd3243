"""llama-server's own completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos.server import answers
from pacos.server.call import Call
from pacos.server.dialects.llama_server import shapes
from pacos.server.dialects.llama_server.scores import probabilities
from pacos.server.dialects.openai.shapes import progress_of, timings_of
from pacos.server.fields import with_options
from pacos.server.residency import Resident
from pacos.server.stream import event, json_response, server_sent_events
from pacos.types import Completion, Event, TokenScore


class CompletionFields(shapes.Generating, kw_only=True):
    """A request for completions of one prompt or several."""

    prompt: Any
    n_cmpl: int | None = None


CompletionRequest = with_options(CompletionFields, shapes.GROUPS, names=shapes.NAMES)


class Piece(msgspec.Struct, omit_defaults=True):
    """A piece of a streamed completion."""

    index: int
    content: str
    tokens: list[int]
    stop: bool
    tokens_predicted: int
    tokens_evaluated: int
    id_slot: int | msgspec.UnsetType = msgspec.UNSET
    completion_probabilities: list[dict[str, Any]] | None = None
    timings: dict[str, Any] | None = None
    prompt_progress: dict[str, Any] | None = None


class Result(msgspec.Struct, kw_only=True):
    """A whole completion; a stream's last piece, too, but for the text that came before."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: bool
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    prompt: str
    has_new_line: bool
    truncated: bool
    stop_type: str
    stopping_word: str
    tokens_cached: int
    timings: dict[str, Any]
    completion_probabilities: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class Asked:
    """What one request asked for, by the places of its answers: prompts one after another, each `n_cmpl` times."""

    def __init__(self, call: Call[Any], resident: Resident, options: dict[str, Any], prompts: Sequence[str]) -> None:
        self.body = call.body
        self.resident = resident
        self.prompts = prompts
        self.settings = shapes.generation_settings(options, resident.llm, resident.name)
        self.return_tokens = bool(call.body.return_tokens or call.body.stream)
        self.slots = call.slots
        self._drawn_from = bool(call.body.post_sampling_probs)

    def probabilities(self, scores: Iterable[TokenScore]) -> list[dict[str, Any]]:
        """Scores as they were asked for."""
        return probabilities(self.resident.llm, scores, drawn_from=self._drawn_from)

    def result(
        self,
        index: int,
        one: Event | Completion,
        counts: tuple[int, int],
        has_new_line: bool,
    ) -> dict[str, Any]:
        """The fields of a finished completion, or of its last event. `counts` are prompt and generated tokens."""
        reason, timings = one.finish_reason or "none", one.timings
        word = one.stop_string if reason == "stop" else None
        kind = "word" if word is not None else {"stop": "eos", "length": "limit"}.get(reason, "none")
        prompt_tokens, generated = counts
        whole = Result(
            index=index,
            content=one.text,
            tokens=list(one.token_ids) if self.return_tokens else [],
            id_slot=self.slots[index],
            stop=True,
            model=self.resident.name,
            tokens_predicted=generated,
            tokens_evaluated=prompt_tokens,
            generation_settings=self.settings,
            prompt=self.prompts[index],
            has_new_line=has_new_line,
            truncated=reason == "length" and prompt_tokens + generated >= self.resident.llm.context_tokens,
            stop_type=kind,
            stopping_word=word or "",
            tokens_cached=timings.cached_tokens if timings is not None else 0,
            timings=timings_of(timings) or {},
            completion_probabilities=self.probabilities(one.scores) or msgspec.UNSET,
        )
        fields = {name: value for name, value in msgspec.structs.asdict(whole).items() if value is not msgspec.UNSET}
        return shapes.chosen(fields, self.body.response_fields)


async def run(call: Call[CompletionFields]) -> ASGIApp:
    """Continue each prompt."""
    body = call.body
    resident = await call.resident(body.model)
    size = len(str(body.prompt)) if isinstance(body.prompt, (str, list)) else 0
    prompts, several = await call.prepared(size, lambda: shapes.prompts_of(body.prompt, resident.llm))
    return await answer(call, resident, prompts, several=several, choices=shapes.choices_of(body.n_cmpl))


async def answer(
    call: Call[Any], resident: Resident, prompts: Sequence[list[int]], *, several: bool, choices: int = 1
) -> ASGIApp:
    """Continue token ids, and give the results as llama-server does: a list where there may be several."""
    options = shapes.run_options(call.body, resident.llm)
    call.ping(call.body.sse_ping_interval)
    streams: list[answers.Answer] = []
    for ids in prompts:
        streams += await answers.start(
            call, resident, resident.llm.stream_many, ids, options, size_characters=0, choices=choices
        )
    texts = [resident.llm.detokenize(ids, special=True) for ids in prompts for _ in range(choices)]
    asked = Asked(call, resident, options, texts)
    if call.body.stream:
        return server_sent_events(call, _pieces(call, streams, asked))
    found = [
        asked.result(
            index,
            one,
            (len(one.prompt_token_ids), len(one.token_ids)),
            "\n" in one.text,
        )
        for index, one in enumerate(await answers.completions(call, streams))
    ]
    value = found if several or choices > 1 else found[0]
    return json_response(call, value)


async def _pieces(call: Call[Any], streams: Sequence[answers.Answer], asked: Asked) -> AsyncIterator[bytes]:
    generated = [0] * len(streams)
    new_line = [False] * len(streams)
    async with aclosing(answers.events(call, streams)) as found:
        async for index, one in found:
            prompt_tokens = len(streams[index].prompt_token_ids)
            generated[index] += len(one.token_ids)
            new_line[index] |= "\n" in one.text
            if one.finish_reason is None:
                told = asked.probabilities(one.scores) or None
                counts = (generated[index], prompt_tokens)
                piece = Piece(index, one.text, list(one.token_ids), False, *counts, asked.slots[index], told)
                if asked.body.timings_per_token:
                    piece.timings = timings_of(streams[index].timings())
                if one.progress is not None:
                    piece.prompt_progress = progress_of(one.progress)
                yield event(piece)
                continue
            yield event(asked.result(index, one, (prompt_tokens, generated[index]), new_line[index]))
