"""`pacos api`: serve one model over HTTP, as igllama's command does."""

from __future__ import annotations

from typing import Any

import click

from pacos.cli.serve import asked_for, brought_models, ours, run_server, with_answers
from pacos.errors import UsageError


class _Api(click.Command):
    """Takes igllama's and llama-server's arguments beside our own."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Read the arguments in our own words."""
        known = {"--max-tokens": "--n-predict", "-p": "--port"}
        return super().parse_args(context, ours([known.get(one, one) for one in arguments]))


@click.command(cls=_Api)
@click.argument("model", required=False, metavar="[MODEL]")
@click.option("-m", "--model", "model_option", metavar="MODEL", help="The model, as an option.")
@click.option("--no-think", is_flag=True, help="Let the model not think where a request says nothing.")
@with_answers
def command(**given: Any) -> None:
    """Serve one model over HTTP until Ctrl-C or SIGTERM.

    `pacos serve` does the same for several models, and in the background.

    Example:  pacos api storyteller --port 3000
    """
    asked = asked_for(given, **({"reasoning": "off"} if given["no_think"] else {}))
    if (given["model"] is None) == (given["model_option"] is None):
        raise UsageError("give one model", hint="pacos api MODEL")
    run_server(brought_models([given["model"] or given["model_option"]], asked), asked)
