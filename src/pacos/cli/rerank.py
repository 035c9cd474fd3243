"""`pacos rerank`: documents in the order in which they answer a query."""

from __future__ import annotations

from typing import Any

import click

from pacos.cli import render
from pacos.cli.options import Sectioned, given_texts, groups_from, with_options
from pacos.settings import LoadOptions
from pacos.settings.embed import InputOptions


@click.command(cls=Sectioned)
@click.argument("model")
@click.argument("query")
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@click.option("-f", "--file", metavar="FILE", help="Every line of the file is a document; - is standard input.")
@click.option("--top-n", type=click.IntRange(min=1), metavar="N", help="Print the best N alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(InputOptions, LoadOptions)
def command(
    model: str, query: str, documents: tuple[str, ...], file: str | None, top_n: int | None, as_json: bool, **given: Any
) -> None:
    """Order documents by how well they answer a query: score, place from 0, and document, the best first.

    The model must be a reranker, such as bge-reranker. The documents are arguments, the lines of a file, or those of
    standard input.

    Example:  pacos rerank reranker.gguf "Who sleeps?" "A dragon slept." "A fox ran."
    """
    from dataclasses import asdict

    from pacos.llm import load

    limits, options = groups_from((InputOptions, LoadOptions), given)
    texts = given_texts(documents, file, "DOCUMENT")
    with load(model, options=options) as llm:
        found = llm.rerank(query, texts, **asdict(limits))
    for place in found.truncated:
        render.warn(f"document {place} was cut: {found.token_counts[place]} tokens with the query")
    best = found.best(top_n)
    if as_json:
        results = [{"index": place, "score": found.scores[place], "document": texts[place]} for place in best]
        facts = {"model": model, "tokens": list(found.token_counts), "truncated": list(found.truncated)}
        render.as_json({**facts, "results": results})
        return
    for place in best:
        click.echo(f"{found.scores[place]:.6g}\t{place}\t{render.printable(texts[place])}")
