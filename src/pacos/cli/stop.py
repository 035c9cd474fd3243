"""`pacos stop MODEL`: have a server close a model."""

from __future__ import annotations

import click

from pacos.cli.ps import asked, with_server


@click.command()
@click.argument("model")
@with_server
def command(model: str, url: str | None, api_key: str | None) -> None:
    """Have a server close a model and free its memory; the next request opens it again.

    `pacos serve stop` ends the server itself.

    Example:  pacos stop storyteller
    """
    asked(url, api_key, "/models/unload", {"model": model})
    click.echo(f"{model} is closed")
