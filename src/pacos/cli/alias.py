"""`pacos alias`: list, give and take away names of models."""

from __future__ import annotations

import click

from pacos.cli import render
from pacos.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.argument("model", required=False)
@click.option("--rm", "remove_it", is_flag=True, help="Take the name away.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(name: str | None, model: str | None, remove_it: bool, as_json: bool) -> None:
    """Give a model another name, in place of what had it; without arguments, list the names.

    The model must be there now; a name stays when its model goes. `pacos create` gives it defaults too.

    Example:  pacos alias small org/name:Q4_K_M
    """
    from pacos.hub.naming import alias
    from pacos.hub.store import Store
    from pacos.hub.upkeep import remove

    if remove_it != (name is not None and model is None) or (as_json and name is not None):
        raise UsageError("give NAME and MODEL, NAME --rm, or nothing", hint="pacos alias small org/name:Q4_K_M")
    if name is not None and model is not None:
        alias(name, model)
        click.echo(f"{name} is {model}")
    elif name is not None:
        remove(name)
    else:
        found = {entry.name: entry.model or str(entry.target) for entry in Store().entries}
        if as_json:
            render.as_json(found)
        else:
            render.table(("name", "model"), [tuple(map(render.printable, row)) for row in found.items()])
