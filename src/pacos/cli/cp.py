"""`pacos cp`: give a model a second name, with the same defaults."""

from __future__ import annotations

import click


@click.command()
@click.argument("model")
@click.argument("name")
@click.option("--force", is_flag=True, help="Replace what has the name.")
def command(model: str, name: str, force: bool) -> None:
    """Give a model a second name. The files are shared; removing one name leaves the other.

    Example:  pacos cp llama3.2:1b mine
    """
    from pacos.hub.naming import copy

    copy(model, name, replace=force)
    click.echo(f"{name} is {model}")
