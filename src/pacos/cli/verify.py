"""`pacos verify`: check that every file of the store holds what it should."""

from __future__ import annotations

import sys

import click

from pacos.cli import render


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repair", is_flag=True, help="Remove damaged files of the store, so that a pull fetches them again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(names: tuple[str, ...], repair: bool, as_json: bool) -> None:
    """Compare the files of the store, or of some models, with the digests that they were published under.

    Files without one are opened. The exit code is 3 when a file is damaged and was not removed.

    Example:  pacos verify --repair
    """
    from pacos.hub.upkeep import bytes_to_verify, verify

    wanted = list(names)
    total = bytes_to_verify(wanted)
    with render.progress("reading", float(total) or 1.0) as shown:
        done = 0

        def seen(count: int) -> None:
            nonlocal done
            done += count
            shown(done)

        faults = list(verify(wanted, repair=repair, seen=seen))
    if as_json:
        keys = ("problem", "hint", "repaired")
        render.as_json([{"path": str(one.path), **{key: getattr(one, key) for key in keys}} for one in faults])
    else:
        for one in faults:
            said = "removed; " if one.repaired else ""
            text = one.problem if str(one.path) in one.problem else f"{one.path}: {one.problem}"
            click.echo(render.printable(f"{text} ({said}{one.hint})", 600))
        if not faults:
            click.echo(f"all is well: {render.size_text(total)} read")
    if any(not one.repaired for one in faults):
        sys.exit(3)
