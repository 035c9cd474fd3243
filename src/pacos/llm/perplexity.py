"""Score a text with a model in llama.cpp's way: chunk by chunk, or with a window that slides.

An encoder-decoder, which llama.cpp does not score, reads what comes before the scored tokens as a source; its decoder
writes these.
Source: llama.cpp, tools/perplexity.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pacos.errors import UsageError
from pacos.formats.logits import LogitsFile, logits_written, packed
from pacos.lazy import np
from pacos.llm import LLM
from pacos.llm.divergence import Divergence

LEAST_TOKENS = 4
Progress = Callable[[int], object]


def chunks_of(llm: LLM, tokens: Sequence[int], size: int, most: int = -1) -> list[list[int]]:
    """Whole chunks of a text, as they are. Errors: UsageError when there is none, or nothing to score in one."""
    if size < LEAST_TOKENS:
        raise UsageError(f"a context of {size} tokens has nothing to score", hint="use --ctx-size 4 or more")
    count = len(tokens) // size
    if count == 0:
        raise UsageError(f"{len(tokens)} tokens are too few", hint=f"give a text of at least {size} tokens")
    count = count if most < 0 else min(count, most)
    return [list(tokens[i * size : (i + 1) * size]) for i in range(count)]


def begun(llm: LLM, chunk: Sequence[int]) -> list[int]:
    """A chunk that begins with BOS where the model has one."""
    vocabulary = llm.tokenizer
    return [vocabulary.bos, *chunk[1:]] if vocabulary.add_bos and vocabulary.bos is not None else list(chunk)


def parted(llm: LLM, tokens: Sequence[int], first: int, *, dropped: bool = True) -> tuple[list[int], list[int]]:
    """What an encoder reads of a text of which the tokens from first + 1 on are scored, and what the decoder writes.

    The source ends with EOS where the model's do, and the decoder starts from a token of its own: with `dropped` the
    text's first tokens make room for both, as its first one does for a BOS.
    """
    vocabulary = llm.tokenizer
    marks = [vocabulary.eos] if vocabulary.add_eos and vocabulary.eos is not None else []
    begin = min(1 + len(marks), first) if dropped else 0
    return [*tokens[begin : first + 1], *marks], [llm.engine.start_token, *tokens[first + 1 :]]


def text_scores(llm: LLM, tokens: Sequence[int], first: int, *, dropped: bool = True) -> list[float]:
    """Log-probabilities of the tokens from first + 1 on; `dropped` is as for `parted`."""
    if llm.engine.start_token < 0:
        return llm.log_probabilities(tokens, first=first)
    source, written = parted(llm, tokens, first, dropped=dropped)
    return llm.log_probabilities(written, source=source)


def chunk_scores(llm: LLM, chunks: Sequence[Sequence[int]], done: Progress) -> list[float]:
    """Log-probabilities of the tokens of each chunk's second half."""
    scores: list[float] = []
    for i, chunk in enumerate(chunks):
        scores += text_scores(llm, begun(llm, chunk), len(chunk) // 2)
        done(i + 1)
    return scores


def window_count(tokens: int, window: int, stride: int) -> int:
    """Windows of a text. Errors: UsageError when it has no whole one."""
    if tokens <= window:
        raise UsageError(f"{tokens} tokens are too few", hint=f"give a text of more than {window} tokens")
    if stride >= window:
        raise UsageError(f"a stride of {stride} in windows of {window} tokens", hint="use a smaller --ppl-stride")
    return (tokens - window + stride - 1) // stride


def window_scores(llm: LLM, tokens: Sequence[int], window: int, stride: int, most: int, done: Progress) -> list[float]:
    """Log-probabilities of the last `stride` tokens of each window, each given all before them in it."""
    count = window_count(len(tokens), window, stride)
    scores: list[float] = []
    for i in range(count if most < 0 else min(count, most)):
        part = tokens[i * stride : i * stride + window]
        scores += text_scores(llm, part, window - stride - 1)
        done(i + 1)
    return scores


def save_base(llm: LLM, path: str | os.PathLike[str], chunks: Sequence[Sequence[int]], done: Progress) -> list[float]:
    """Write what a model says of chunks into a file, and give the scores of the tokens that came."""
    size, scores = len(chunks[0]), list[float]()
    with logits_written(path, size, llm.engine.vocab_size, chunks) as stream:
        for i, chunk in enumerate(chunks):
            rows = _rows(llm, chunk)
            stream.write(packed(rows).astype("<u2").tobytes())
            high = rows.max(axis=1)
            sums = high + np.log(np.exp(rows - high[:, None]).sum(axis=1, dtype=np.float64))
            scores += (rows[np.arange(len(rows)), chunk[size // 2 + 1 :]] - sums).tolist()
            done(i + 1)
    return scores


def compare(llm: LLM, base: LogitsFile, done: Progress) -> Divergence:
    """Compare a model with what another said. Errors: UsageError for another vocabulary."""
    if base.vocabulary != llm.engine.vocab_size:
        problem = f"the base has {base.vocabulary} tokens in its vocabulary, the model {llm.engine.vocab_size}"
        raise UsageError(problem, hint="compare quantizations of one model")
    if base.chunk_tokens > llm.context_tokens:
        problem = f"the base's chunks have {base.chunk_tokens} tokens, the context {llm.context_tokens}"
        raise UsageError(problem, hint=f"use --ctx-size {base.chunk_tokens}")
    found = Divergence()
    for i in range(base.count):
        chunk = base.tokens(i)
        found.add(_rows(llm, chunk), base.log_probabilities(i), chunk[len(chunk) // 2 + 1 :])
        done(i + 1)
    return found


def _rows(llm: LLM, chunk: Sequence[int]) -> np.ndarray:
    """Logits of a chunk's second half. Shapes: [R, V] f32."""
    first, count = len(chunk) // 2, len(chunk) - 1 - len(chunk) // 2
    if llm.engine.start_token >= 0:
        source, written = parted(llm, begun(llm, chunk), first)
        rows = llm.engine.logits(written, range(count), source)
    else:
        rows = llm.engine.logits(begun(llm, chunk), range(first, first + count))
    return np.frombuffer(rows, np.float32).reshape(-1, llm.engine.vocab_size)
