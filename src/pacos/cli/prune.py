"""`pacos prune`: remove what nothing needs: remains of downloads, contents without a name."""

from __future__ import annotations

import click

from pacos.cli import render


@click.command()
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(dry_run: bool, as_json: bool) -> None:
    """Remove from the store what no model needs. What is younger than an hour stays: a download may be running.

    Example:  pacos prune --dry-run
    """
    from pacos.hub.entries import changing
    from pacos.hub.upkeep import needless

    with changing():
        found = list(needless())
        for one in found:
            if not dry_run:
                one.path.unlink(missing_ok=True)
    total = sum(one.bytes for one in found)
    if as_json:
        render.as_json([{"path": str(one.path), "why": one.why, "bytes": one.bytes} for one in found])
        return
    for one in found:
        click.echo(f"{render.printable(str(one.path))}: {one.why}")
    done = "would be freed" if dry_run else "freed"
    click.echo(f"{render.size_text(total)} {done}" if found else "there is nothing to remove")
