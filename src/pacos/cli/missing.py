"""Models that are asked for and not here: pulled when the user wants it, else told by whoever opens them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import said
from pacos.errors import ModelError, ModelNotFound, PacosError, UsageError
from pacos.settings import read
from pacos.settings.fetch import FetchOptions

if TYPE_CHECKING:
    from pacos.hub.pull import Progress
    from pacos.hub.store import StoredModel


def fetch_options(given: dict[str, Any]) -> FetchOptions:
    """What a command's values and the environment say of models that are not here. Errors: UsageError."""
    (found,) = read((FetchOptions,), said((FetchOptions,), given))
    return found  # type: ignore[no-any-return]


def brought(text: str, fetch: FetchOptions, *, quiet: bool = False) -> str:
    """The name under which a model can be opened; one that is not here is pulled if that is wanted.

    Errors: UsageError; those of pulling. One that stays away is told by whoever opens it.
    """
    from pacos.hub import endpoints
    from pacos.hub.spelling import is_elsewhere

    if fetch.offline:
        os.environ[endpoints.OFFLINE[0]] = "1"  # for what clients of a server may pull too
    text = _with_file(text, fetch.hf_file)
    asks = not fetch.pull
    if not endpoints.offline() and (fetch.pull or _can_ask()) and _is_away(text, certain=fetch.pull):
        if asks:
            click.echo("\n".join(render.at_words(f"{render.printable(text)} is not here")), err=True)
        try:
            name, size, run = _offer(text, asks=asks)
        except PacosError as error:
            if fetch.pull:
                raise
            problem = f"no model {text[:200]!a} in the store, and it cannot be pulled: {error.message}"
            raise ModelNotFound(problem, hint=error.hint) from error
        if fetch.pull or _is_wanted(name, size):
            from pacos.hub.pull import silent

            show = nullcontext(silent) if quiet else render.transfer()
            with show as progress:
                run(progress)
    if is_elsewhere(text) and (found := _stored(text)) is not None:
        return found.name
    return text


def _can_ask() -> bool:
    return render.stdin_is_terminal() and render.on_terminal()


def _is_wanted(name: str, size: int | None) -> bool:
    more = "" if size is None else f", {render.size_text(size)}"
    return click.confirm(f"pull it now? ({render.printable(name)}{more})", default=True, err=True)


def _with_file(text: str, file: str) -> str:
    """The name of a file of the repository that a name means. Errors: UsageError for what is no repository."""
    from pacos.hub.spelling import hub_name

    if not file:
        return text
    found = hub_name(text)
    if found is None or found.file:
        raise UsageError(f"--hf-file is given, and {text[:100]!a} is no repository", hint="give org/name as the model")
    return str(replace(found, quant="", file=file))


def _is_away(text: str, *, certain: bool) -> bool:
    """Whether a text names a model of elsewhere that is not here; what may be a path is one, unless `certain`."""
    from pacos.hub.names import of_hub
    from pacos.hub.spelling import hub_name, is_elsewhere

    if not is_elsewhere(text) and (hub_name(text) if certain else of_hub(text)) is None:
        return False
    try:
        return not os.path.lexists(text) and _stored(text) is None
    except ModelError:  # it has a name, and its file is gone
        return False


def _stored(text: str) -> StoredModel | None:
    from pacos.hub.names import find_name
    from pacos.hub.pull import hub_address

    at = hub_address(text)
    return find_name(text if at is None else str(at[0]))


def _offer(text: str, *, asks: bool) -> tuple[str, int | None, Callable[[Progress], object]]:
    """What there is to pull: its name, what its files take where that is known, and how to get it.

    Who is asked sees what else there is. Errors: as pulling.
    """
    from pacos.cli.pull import tell_variants
    from pacos.hub.ollama_registry import OllamaPull
    from pacos.hub.pull import HubPull, Wish, hub_address, pull_address
    from pacos.hub.spelling import OLLAMA_START, hub_name

    if text.startswith(OLLAMA_START):
        from_ollama = OllamaPull(text.removeprefix(OLLAMA_START))
        return text, from_ollama.bytes, from_ollama.run
    at = hub_address(text)
    name = at[0] if at is not None else hub_name(text)
    if name is None:
        return text, None, lambda progress: pull_address(text, progress)
    pull = HubPull(name, Wish(at[1] if at is not None else "main"))
    if asks and not name.file and not name.quant and len(pull.variants) > 1:
        tell_variants(pull, everything=False)
    return pull.name, pull.chosen.bytes, pull.run
