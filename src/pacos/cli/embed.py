"""`pacos embed`: texts to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import Sectioned, given_texts, groups_from, with_options
from pacos.settings import LoadOptions
from pacos.settings.embed import EmbedOptions, InputOptions

if TYPE_CHECKING:
    from pacos.llm import Embeddings


@click.command(cls=Sectioned)
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("-f", "--file", metavar="FILE", help="Every line of the file is a text; - is standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(EmbedOptions, InputOptions, LoadOptions)
def command(model: str, texts: tuple[str, ...], file: str | None, as_json: bool, **given: Any) -> None:
    """Turn texts into vectors: one line of numbers for each, or one for each token with --pooling none.

    The texts are arguments, the lines of a file, or those of standard input.

    Example:  pacos embed model.gguf "A dragon slept." "A fox ran." --json
    """
    from dataclasses import asdict

    from pacos.llm import load

    how, limits, options = groups_from((EmbedOptions, InputOptions, LoadOptions), given)
    inputs = given_texts(texts, file, "TEXT")
    with load(model, options=options) as llm:
        found = llm.embed(inputs, **asdict(how), **asdict(limits))
    _print(model, found, as_json)


def _print(model: str, found: Embeddings, as_json: bool) -> None:
    for place in found.truncated:
        render.warn(f"input {place} was cut to {found.token_counts[place]} tokens")
    width = found.width
    rows = [[list(one[i : i + width]) for i in range(0, len(one), width)] for one in found.vectors]
    if as_json:
        apart = found.pooling == "none"
        vectors = rows if apart else [row[0] for row in rows]
        facts = {"model": model, "pooling": found.pooling, "width": width, "tokens": list(found.token_counts)}
        render.as_json({**facts, "truncated": list(found.truncated), "embeddings": vectors})
        return
    for row in (row for one in rows for row in one):
        click.echo(" ".join(f"{number:.9g}" for number in row))
