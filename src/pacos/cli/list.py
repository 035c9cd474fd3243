"""`pacos list`: the models on this disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render

if TYPE_CHECKING:
    from pacos.hub.store import StoredModel


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> None:
    """List the models that were pulled, imported or given a name, and the bundled ones.

    Every name in the list can be given where a command asks for a model.

    Example:  pacos list --json
    """
    from pacos.hub.names import find
    from pacos.hub.store import BUNDLED, Store

    store = Store()
    models = [*store.models(), *(find(name) for name in sorted(BUNDLED))]
    for error in store.damaged:
        render.warn(f"{error.message}; {error.hint}")
    if as_json:
        render.as_json([_data(model) for model in models])
        return
    rows = [
        (
            render.printable(model.name),
            render.size_text(model.bytes),
            model.type,
            render.ago(model.modified),
            render.printable(f"-> {model.alias_of}" if model.alias_of else model.source or str(model.path)),
        )
        for model in models
    ]
    render.table(("name", "size", "type", "changed", "from"), rows)


def _data(model: StoredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "path": str(model.path),
        "files": [str(file) for file in model.files],
        "bytes": model.bytes,
        "type": model.type or None,
        "modified": model.modified,
        "source": model.source or None,
        "alias_of": model.alias_of or None,
        "options": dict(model.preset.options),
    }
