"""`pacos perplexity`: how well a model predicts a text, measured as llama.cpp does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import groups_from, read_text_option, with_options
from pacos.cli.other_flags import TakesOthers
from pacos.errors import UsageError
from pacos.settings import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacos.llm import LLM

DEFAULT_CONTEXT_TOKENS = 512


@click.command(cls=TakesOthers)
@click.argument("model")
@click.option("-f", "--file", required=True, metavar="FILE", help="The text; - is standard input.")
@click.option("--chunks", type=click.IntRange(min=-1), default=-1, metavar="N", help="Chunks to score; -1 is all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(LoadOptions)
def command(model: str, file: str, chunks: int, as_json: bool, **given: Any) -> None:
    """Measure the perplexity of a text.

    The text is cut into chunks of the context's size (-c, 512 by default), each starting with BOS where the model has
    one; the second half of each chunk is scored, so the figures compare with llama.cpp's.
    """
    from dataclasses import replace

    from pacos.llm import load

    (options,) = groups_from((LoadOptions,), given)
    size = options.ctx_size or DEFAULT_CONTEXT_TOKENS
    if size < 4:
        raise UsageError(f"a context of {size} tokens has nothing to score", hint="use --ctx-size 4 or more")
    if chunks == 0:
        raise UsageError("--chunks is 0", hint="use 1 or more, or -1 for all")
    text = read_text_option(file, "--file")
    with load(model, options=replace(options, ctx_size=size, parallel=1)) as llm:
        tokens = llm.tokenize(text)
        count = len(tokens) // size
        if count == 0:
            raise UsageError(f"{len(tokens)} tokens are too few", hint=f"give a text of at least {size} tokens")
        count = count if chunks < 0 else min(count, chunks)
        with render.progress("scoring", count) as done:
            scores = _scores(llm, tokens, size, count, done)
    _print(scores, size, count, as_json)


def _scores(llm: LLM, tokens: list[int], size: int, count: int, done: Callable[[int], None]) -> list[float]:
    scores: list[float] = []
    for chunk in range(count):
        part = tokens[chunk * size : (chunk + 1) * size]
        if llm.tokenizer.add_bos and llm.tokenizer.bos is not None:
            part[0] = llm.tokenizer.bos
        scores += llm.log_probabilities(part, first=size // 2)
        done(chunk + 1)
    return scores


def perplexity_of(scores: list[float]) -> tuple[float, float]:
    """The perplexity that log-probabilities make, and its standard error."""
    mean = -sum(scores) / len(scores)
    variance = sum((score + mean) ** 2 for score in scores) / max(1, len(scores) - 1)
    perplexity = math.exp(mean) if mean < 700 else math.inf
    return perplexity, perplexity * math.sqrt(variance / len(scores)) if math.isfinite(perplexity) else math.inf


def _print(scores: list[float], size: int, chunks: int, as_json: bool) -> None:
    perplexity, error = perplexity_of(scores)
    mean = -sum(scores) / len(scores)
    if as_json:
        found = {"perplexity": perplexity, "error": error, "mean_nll": mean, "tokens_scored": len(scores)}
        render.as_json({**found, "chunks": chunks, "ctx_size": size})
    else:
        click.echo(f"perplexity {perplexity:.4f} +/- {error:.4f} ({len(scores)} tokens in {chunks} chunks of {size})")
