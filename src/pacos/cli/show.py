"""`pacos show`: what is in a model file, also in one that cannot run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.other_flags import TakesOthers
from pacos.errors import FormatError

if TYPE_CHECKING:
    from pacos.hub.store import StoredModel
    from pacos.types import Archive

_LABELS = {
    "bytes": "size",
    "context_tokens": "context",
    "encoder_layers": "encoder layers",
    "key_heads": "key heads",
    "head_width": "head width",
    "hidden": "feed-forward",
    "window_tokens": "window",
    "layers_with_window": "layers with it",
    "experts_used": "experts used",
    "size_label": "size label",
    "license": "licence",
    "file_type": "file type",
    "bits_per_weight": "bits per weight",
    "add_bos": "adds BOS",
    "chat_template": "chat template",
    "ends": "ends an answer",
}
_UNITS = {"context_tokens": " tokens", "window_tokens": " tokens"}


@click.command(cls=TakesOthers)
@click.argument("model")
@click.option("--tensors", is_flag=True, help="List every tensor: name, type, shape, bytes.")
@click.option("--metadata", is_flag=True, help="List every metadata key; long values are cut.")
@click.option("--template", is_flag=True, help="Print the chat template's text.")
@click.option("--license", "--licence", "licence", is_flag=True, help="Print the licence's text, or its name.")
@click.option("--modelfile", is_flag=True, help="Print the Modelfile that makes this name.")
@click.option("--plan", is_flag=True, help="Print the optimised plan: every operation of one step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: str, **given: bool) -> None:
    """Show what is in a model file or folder.

    Files that cannot run here are shown too, with the reason. The flags print single parts instead of the overview.

    Example:  pacos show model.gguf --tensors
    """
    from pacos.hub.describe import open_any
    from pacos.hub.names import find

    stored = find(model)
    archive, problem = open_any(stored.path)
    try:
        if given.pop("as_json"):
            render.as_json(_data(archive, problem, stored, given))
        elif any(given.values()):
            for name, wanted in given.items():
                if wanted:
                    _PARTS[name](archive, stored)
        else:
            _overview(archive, problem, stored)
    finally:
        archive.close()


def _data(archive: Archive, problem: str | None, stored: StoredModel, given: Mapping[str, bool]) -> dict[str, Any]:
    from pacos.hub.describe import describe, metadata_rows, optimised_plans, tensor_rows

    found = {**describe(archive, problem), **_named(stored)}
    if given["tensors"]:
        keys = ("name", "shape", "type", "bytes")
        found["tensors"] = [dict(zip(keys, row, strict=True)) for row in tensor_rows(archive)]
    if given["metadata"]:
        found["metadata"] = dict(metadata_rows(archive))
    if given["template"]:
        found["template"] = archive.metadata.get("tokenizer.chat_template")
    if given["licence"]:
        found["licence"] = _licence(archive, stored)
    if given["modelfile"]:
        found["modelfile"] = _modelfile(stored)
    if given["plan"]:
        found["plan"] = "".join(plan.text() for plan in optimised_plans(archive))
    return found


def _named(stored: StoredModel) -> dict[str, Any]:
    """What the name that was given means beside the file."""
    if not stored.named:
        return {}
    preset = stored.preset
    facts = {
        "name": stored.name,
        "stands for": stored.alias_of,
        "from": stored.source,
        "options": dict(preset.options),
        "system": preset.system,
        "template": preset.template,
        "messages": [dict(one) for one in preset.messages],
    }
    return {"name": {key: value for key, value in facts.items() if value}}


def _licence(archive: Archive, stored: StoredModel) -> str:
    names = ("general.license.name", "general.license", "general.license.link")
    found = [str(archive.metadata[name]) for name in names if name in archive.metadata]
    return stored.preset.licence or "\n".join(found)


def _modelfile(stored: StoredModel) -> str:
    from pacos.hub.modelfile import written

    return written(stored)


def _overview(archive: Archive, problem: str | None, stored: StoredModel) -> None:
    from pacos.hub.describe import describe

    found = {**_named(stored), **describe(archive, problem)}
    types = found["weights"].pop("types")
    if not types:
        del found["weights"]
    for section, values in found.items():
        rows = list(_rows(values))
        if rows:
            click.echo(render.styled(section, bold=True))
        for label, text in rows:
            click.echo(f"  {label:16} {render.printable(text)}")
    if types:
        click.echo()
        rows = [(name, *(one[key] for key in ("tensors", "parameters", "bytes"))) for name, one in types.items()]
        render.table(("type", "tensors", "parameters", "bytes"), rows)


def _rows(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        label = _LABELS.get(name, name)
        if name in ("warnings", "problem"):
            texts = [value] if isinstance(value, str) else value
            yield from ((name.removesuffix("s"), text) for text in texts)
        elif name == "bytes":
            yield label, render.size_text(value)
        elif name == "parameters":
            yield label, f"{value:,}"
        elif name == "options":
            yield from ((key, str(one)) for key, one in value.items())
        elif name == "messages":
            yield from ((one["role"], one["content"]) for one in value)
        elif isinstance(value, dict):
            yield label, f"{value['id']} {value['text']}"
        elif value is not None:
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            yield label, text.strip("[]") + _UNITS.get(name, "")


def _print_tensors(archive: Archive, stored: StoredModel) -> None:
    from pacos.hub.describe import tensor_rows

    rows = [
        (render.printable(name), kind, " x ".join(map(str, shape)), size)
        for name, shape, kind, size in tensor_rows(archive)
    ]
    render.table(("name", "type", "shape", "bytes"), rows)


def _print_metadata(archive: Archive, stored: StoredModel) -> None:
    from pacos.hub.describe import metadata_rows

    rows = [(render.printable(key), render.printable(value)) for key, value in metadata_rows(archive)]
    render.table(("key", "value"), rows)


def _print_template(archive: Archive, stored: StoredModel) -> None:
    text = stored.preset.template or archive.metadata.get("tokenizer.chat_template")
    if not isinstance(text, str):
        raise FormatError(f"{archive.path} has no chat template", hint="run and chat take one with --chat-template")
    _print_text(text)


def _print_licence(archive: Archive, stored: StoredModel) -> None:
    text = _licence(archive, stored)
    if not text:
        raise FormatError(f"{archive.path} names no licence", hint="look where the model was published")
    _print_text(text)


def _print_modelfile(archive: Archive, stored: StoredModel) -> None:
    _print_text(_modelfile(stored))


def _print_text(text: str) -> None:
    if render.stdout_is_terminal():
        text = "\n".join(render.printable(line, len(line) or 1) for line in text.split("\n"))
    render.write(text if text.endswith("\n") else f"{text}\n")


def _print_plan(archive: Archive, stored: StoredModel) -> None:
    from pacos.hub.describe import optimised_plans

    render.write("".join(plan.text() for plan in optimised_plans(archive)))


_PARTS = {
    "tensors": _print_tensors,
    "metadata": _print_metadata,
    "template": _print_template,
    "licence": _print_licence,
    "modelfile": _print_modelfile,
    "plan": _print_plan,
}
