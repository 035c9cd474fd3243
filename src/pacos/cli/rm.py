"""`pacos rm`: remove models, or names of models."""

from __future__ import annotations

import click

from pacos.cli import render


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Also what other names stand for.")
def command(names: tuple[str, ...], force: bool) -> None:
    """Remove models from the store.

    Of a repository goes everything, of REPO:QUANT that model alone. Of a name goes the name, and the files that only it
    leads to; files that were imported in place stay where they are.

    Example:  pacos rm org/name:Q8_0
    """
    from pacos.hub.upkeep import remove

    for name in names:
        freed = remove(name, force=force)
        click.echo(f"removed {render.printable(name)}" + (f" ({render.size_text(freed)})" if freed else ""))
