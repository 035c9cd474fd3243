"""`pacos tokenize`: text to token ids, and back."""

from __future__ import annotations

import sys
from typing import Any

import click

from pacos.cli import render
from pacos.cli.options import only_these, read_text_option
from pacos.cli.other_flags import TakesOthers
from pacos.errors import UsageError


@click.command(cls=TakesOthers)
@click.argument("model")
@click.argument("text", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read the text from a file; - is standard input.")
@click.option("--decode", is_flag=True, help="Turn token ids (numbers, with commas or spaces) into text.")
@click.option(
    "--add-special/--no-add-special", default=True, help="Add what the model wants around a text, such as BOS."
)
@click.option("--parse-special", is_flag=True, help="Names of special tokens in the text count as such.")
@click.option("--count", is_flag=True, help="Print just the number of tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: ids and pieces, or the text.")
def command(model: str, text: str | None, file: str | None, decode: bool, **given: Any) -> None:
    """Show how a model's tokenizer cuts a text.

    The text is an argument, a file, or standard input.

    Example:  pacos tokenize model.gguf "Once upon a time" --count
    """
    from pacos.llm import load

    if decode:
        only_these({"model", "text", "file", "decode", "as_json"}, "with --decode")
    if text is not None and file is not None:
        raise UsageError("the text is given twice", hint="use TEXT or --file")
    if text is None:
        if file is None and (sys.stdin is None or sys.stdin.isatty()):
            raise UsageError("there is no text", hint="give TEXT, --file FILE, or pipe text in")
        text = read_text_option(file or "-", "--file")
    with load(model, vocab_only=True) as llm:
        if decode:
            decoded = llm.detokenize(_ids(text), special=True)
            render.as_json({"text": decoded}) if given["as_json"] else click.echo(decoded)
            return
        ids = llm.tokenize(text, add_special=given["add_special"], parse_special=given["parse_special"])
        if given["as_json"]:
            piece = {one: llm.tokenizer.piece(one, special=True).decode("utf-8", "replace") for one in set(ids)}
            render.as_json({"token_ids": ids, "pieces": [piece[one] for one in ids], "count": len(ids)})
        elif given["count"]:
            click.echo(len(ids))
        elif render.stdout_is_terminal():
            for token in ids:
                click.echo(f"{token:>8}  {llm.tokenizer.piece(token) or llm.tokenizer.token_text(token)!r}")
        else:
            click.echo(" ".join(map(str, ids)))


def _ids(text: str) -> list[int]:
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise UsageError(f"not a list of token ids: {text[:60]!r}", hint="write them as 1 403 407") from error
