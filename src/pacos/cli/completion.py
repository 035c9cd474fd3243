"""`pacos completion SHELL`: what makes a shell complete commands, options, models and files."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class
from click.types import StringParamType

VARIABLE = "_PACOS_COMPLETE"  # what the shell's script sets; click's name for a program called pacos
_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete what you type: commands, options, names of models, files.

    \b
    bash:  pacos completion bash > ~/.local/share/bash-completion/completions/pacos
    zsh:   pacos completion zsh > "${fpath[1]}/_pacos"
    fish:  pacos completion fish > ~/.config/fish/completions/pacos.fish

    Example:  eval "$(pacos completion bash)"
    """  # noqa: D301 - the \b is click's mark of lines to keep
    kind = get_completion_class(shell)
    assert kind is not None
    found = kind(context.find_root().command, {}, "pacos", VARIABLE)
    click.echo(found.source_template % found.source_vars())


class _Completed(StringParamType):
    """A text that the shell completes."""

    def __init__(self, *kinds: str, words: Iterable[str] = ()) -> None:
        self.kinds, self.words = kinds, words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Words and models that begin so; or that the shell shall look for files."""
        words = [*self.words, *(_models() if "model" in self.kinds else ())]
        shells = [CompletionItem(incomplete, type=kind) for kind in self.kinds if kind in ("file", "dir")]
        return [*shells, *(CompletionItem(word) for word in words if word.startswith(incomplete))]


def _models() -> list[str]:
    """Every name that the store and the package have."""
    from pacos.errors import PacosError
    from pacos.hub.store import BUNDLED, Store

    try:
        return [*sorted(BUNDLED), *(model.name for model in Store().models())]
    except (PacosError, OSError):  # a shell that asks is no place for messages
        return sorted(BUNDLED)


_BY_METAVAR = {
    **dict.fromkeys(("MODEL", "SOURCE", "NAME", "NAMES"), ("model", "file")),
    **dict.fromkeys(("FILE", "FILE.png", "NAME|FILE", "PATH", "OUT", "TARGET"), ("file",)),
    **dict.fromkeys(("FOLDER", "DIR"), ("dir",)),
}


def completed(command: click.Command) -> click.Command:
    """The command, with every argument and option completed by what its help calls it."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        completed(inner)
    for one in command.params:
        called = (one.metavar or one.name or "").strip("[].").upper()
        if not isinstance(one.type, StringParamType):
            continue
        if (kinds := _BY_METAVAR.get(called)) is not None:
            one.type = _Completed(*kinds)
        elif "|" in called:
            one.type = _Completed(words=(one.metavar or "").strip("[]").split("|"))
    return command
