"""`pacos version`: versions of the package, Python and the native library, and what the processor offers."""

from __future__ import annotations

import json
import platform
from typing import Any

import click


def facts() -> dict[str, Any]:
    """What the command prints, as data."""
    import pacos
    from pacos.backends import backend, names
    from pacos.errors import NativeError

    found = {
        "pacos": pacos.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
        "backends": names(),
    }
    try:
        cpu = backend("cpu")
    except NativeError as error:  # versions are what helps then
        return {**found, "fault": f"{error.message}; {error.hint}"}
    try:
        return {**found, "instruction_set": getattr(cpu, "isa", "unknown"), "threads": getattr(cpu, "threads", 0)}
    finally:
        cpu.close()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print the versions and what this machine offers.

    Example:  pacos version --json
    """
    found = facts()
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{name:16} {', '.join(value) if isinstance(value, list) else value}")
