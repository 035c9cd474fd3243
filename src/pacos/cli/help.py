"""`pacos help [COMMAND]`: the same text as `--help`."""

from __future__ import annotations

import click

from pacos.errors import UsageError


@click.command()
@click.argument("name", required=False, metavar="[COMMAND]")
@click.pass_context
def command(context: click.Context, name: str | None) -> None:
    """Show help for pacos or for one command.

    Example:  pacos help run
    """
    group_context = context.parent
    if group_context is None:
        raise click.UsageError("help is a command of pacos")
    if name is None:
        click.echo(group_context.get_help())
        return
    group = group_context.command
    found = group.get_command(group_context, name) if isinstance(group, click.Group) else None
    if found is None:
        raise UsageError(f"no command {name!r}", hint="`pacos help` lists them")
    with click.Context(found, info_name=name, parent=group_context) as found_context:
        click.echo(found.get_help(found_context))
