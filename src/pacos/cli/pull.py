"""`pacos pull`: download models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pacos.cli import render
from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.hub.pull import HubPull, Progress, Pulled

Result = TypeVar("Result")


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("-f", "--file", metavar="NAME", help="The file of the repository, in place of a quantization.")
@click.option("--revision", metavar="REV", help="A branch, a tag or a commit of the repository.  [default: main]")
@click.option("-a", "--alias", metavar="NAME", help="Give it this name too; that of a file from a plain address.")
@click.option("-F", "--force", is_flag=True, help="Download again what is here already.")
@click.option("--all", "everything", is_flag=True, help="All models of the repository.")
@click.option("--mmproj", is_flag=True, help="The repository's file for pictures too.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(name: str, **given: Any) -> None:
    """Download a model, or go on where an earlier download stopped.

    MODEL is REPO, REPO:QUANT or REPO/FILE of Hugging Face, ollama:NAME[:TAG], or the address of a GGUF file. Of a
    repository with several models Q4_K_M is taken where nothing is said. HF_TOKEN opens gated and private repositories.

    Example:  pacos pull org/name:Q4_K_M
    """
    from pacos.hub.pull import pull_address
    from pacos.hub.spelling import OLLAMA_START

    if name.startswith(OLLAMA_START):
        _none_of(given, "ollama:NAME", "file", "revision", "everything", "mmproj")
        pulled = _from_ollama(name.removeprefix(OLLAMA_START), given)
    elif (found := _of_hub(name, given)) is not None:
        pulled = found
    else:
        _none_of(given, "a plain address", "file", "revision", "everything", "mmproj")
        pulled = _shown(
            given, lambda progress: pull_address(name, progress, alias=given["alias"] or "", force=given["force"])
        )
    if given["as_json"]:
        render.as_json({"name": pulled.name, "path": str(pulled.path), "files": [str(file) for file in pulled.files]})
    elif not given["quiet"]:
        click.echo(f"{render.printable(pulled.name)}  {render.printable(str(pulled.path))}")


def _of_hub(text: str, given: dict[str, Any]) -> Pulled | None:
    """What was pulled from a hub; None for an address of another machine."""
    from dataclasses import replace

    from pacos.hub.naming import alias
    from pacos.hub.pull import HubPull, Wish, hub_address
    from pacos.hub.spelling import hub_name

    at = hub_address(text)
    if at is None and "://" in text:
        return None
    name = at[0] if at is not None else hub_name(text)
    if name is None:
        raise UsageError(
            f"{text!a:.100} is no model that can be pulled", hint="give REPO as in org/name, or an address"
        )
    if given["file"] is not None:
        if name.quant or name.file:
            raise UsageError("--file is given, and the name tells what is meant already", hint="drop one of them")
        name = replace(name, file=given["file"])
    if at is not None and at[1] != "main" and given["revision"] is not None:
        raise UsageError("--revision is given, and the address has one", hint="drop one of them")
    revision = given["revision"] or (at[1] if at is not None else "main")
    pull = HubPull(name, Wish(revision, given["force"], given["everything"], given["mmproj"]))
    if not given["quiet"] and not name.file and not name.quant and len(pull.variants) > 1:
        tell_variants(pull, everything=given["everything"])
    pulled = _shown(given, pull.run)
    if given["alias"]:
        alias(given["alias"], pulled.name)
    return pulled


def _from_ollama(text: str, given: dict[str, Any]) -> Pulled:
    from pacos.hub.ollama_registry import OllamaPull

    pulled, notes = _shown(given, OllamaPull(text, alias=given["alias"] or "", force=given["force"]).run)
    for note in () if given["quiet"] else notes:
        render.warn(note)
    return pulled


def _none_of(given: dict[str, Any], what: str, *options: str) -> None:
    for one in options:
        if given[one]:
            flag = {"everything": "--all"}.get(one, f"--{one}")
            raise UsageError(f"{flag} has no meaning for {what}", hint="drop it")


def tell_variants(pull: HubPull, *, everything: bool) -> None:
    """List what a repository offers, with the chosen one marked, on standard error."""
    for one in pull.variants:
        mark = "*" if everything or one is pull.chosen else " "
        label = render.printable(one.label or "safetensors")
        click.echo(f"{mark} {label:24} {render.size_text(one.bytes):>10}", err=True)


def _shown(given: dict[str, Any], work: Callable[[Progress], Result]) -> Result:
    """What the work returns; how far it is shows on a terminal."""
    if given["quiet"]:
        return work(lambda step, done, total: None)
    with render.transfer() as progress:
        return work(progress)
