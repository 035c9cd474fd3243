"""`pacos config`: the user's own defaults for `run`, `chat` and `serve`, and names of models."""

from __future__ import annotations

import click

from pacos.cli import render
from pacos.errors import UsageError


@click.group()
def command() -> None:
    """Look at and change your own defaults.

    They are for `run`, `chat` and `serve`, for all models or for one: the names of options, with underlines, and
    default_model, template, and for the first two system_prompt and quiet. A flag, a variable and what a model's name
    gives win over what holds for all.

    Example:  pacos config set temp 0.5
    """


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(as_json: bool) -> None:
    """Print what is set."""
    from pacos.settings.habits import read_habits

    found = read_habits()
    if as_json:
        render.as_json({**found.values, **({"models": found.models} if found.models else {})})
        return
    rows = [("", key, value) for key, value in found.values.items()]
    rows += [(model, key, value) for model, said in found.models.items() for key, value in said.items()]
    if rows:
        render.table(("model", "key", "value"), [tuple(render.printable(str(cell)) for cell in row) for row in rows])
    else:
        render.note("nothing is set")


@command.command()
def path() -> None:
    """Print where the file is, or would be."""
    from pacos.settings import places

    click.echo(str(places.habits_file()))


@command.command()
@click.option("--force", is_flag=True, help="Replace the file when it is there.")
def init(force: bool) -> None:
    """Make an empty file.

    Errors are told when a file is there.
    """
    from pacos.settings import places
    from pacos.settings.habits import Habits

    place = places.habits_file()
    if place.exists() and not force:
        raise UsageError(f"{place} is there", hint="change it with `pacos config set`, or give --force")
    _write(Habits().as_text())
    click.echo(f"made {place}")


@command.command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("-m", "--model", metavar="NAME", help="For this model alone.")
@click.option("--rm", "remove_it", is_flag=True, help="Take it away.")
def set_command(key: str, value: str | None, model: str | None, remove_it: bool) -> None:
    """Set a default.

    Example:  pacos config set -m small ctx_size 4096
    """
    from pacos.settings.habits import from_text, read_habits

    if remove_it == (value is not None):
        raise UsageError("give KEY and VALUE, or KEY --rm", hint="pacos config set temp 0.5")
    if key == "template" and value:
        from pacos.llm.chat import check_template

        check_template(value)
    changed = read_habits().changed(key, None if value is None else from_text(key, value), model)
    _write(changed.as_text())
    click.echo(
        f"{key} is {'not set' if value is None else render.printable(value)}" + (f" for {model}" if model else "")
    )


@command.command()
@click.argument("name", required=False)
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def alias(context: click.Context, name: str | None, model: str | None, as_json: bool) -> None:
    """List the names of models, give a model a NAME, or take it away with `rm` for MODEL, as `pacos alias` does."""
    from pacos.cli.alias import command as names

    away = model == "rm"
    context.invoke(names, name=name, model=None if away else model, remove_it=away, as_json=as_json)


def _write(text: str) -> None:
    from pacos.formats.atomic import atomic_file
    from pacos.settings import places

    place = places.habits_file()
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{place.parent}: {error.strerror}", hint="choose another folder with PACOS_HOME") from None
    with atomic_file(place) as stream:
        stream.write(text.encode())
