"""`pacos ps`: the models that a server has open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pacos.cli import render
from pacos.errors import PacosError, UsageError


def with_server(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which server is asked."""
    key = click.option(
        "--api-key", envvar="PACOS_API_KEY", metavar="KEY", help="The server's API key; also in PACOS_API_KEY."
    )
    said = "Address of the server; by default the one in the background."
    return click.option("--url", metavar="URL", help=said)(key(function))


def asked(url: str | None, api_key: str | None, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that a server answers to a GET, or to a POST of the body.

    Errors: UsageError when there is no server; PacosError with its words when it refuses.
    """
    import httpx

    base = url or _background()
    headers = {"Authorization": f"Bearer {api_key.split(',')[0]}"} if api_key else {}
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
            answer = client.get(path) if body is None else client.post(path, json=body)
        found = answer.json()
    except (httpx.TransportError, httpx.InvalidURL) as error:
        problem = f"no server answers at {render.printable(base)}: {error}"
        raise UsageError(problem, hint="`pacos serve start` starts one; --url names another") from None
    except ValueError:
        problem = f"what answers at {render.printable(base)} is no server of models"
        raise UsageError(problem, hint="give another --url") from None
    if answer.status_code >= 400:
        error_of = found.get("error") if isinstance(found, dict) else None
        words = error_of.get("message") if isinstance(error_of, dict) else error_of
        hint = "give --api-key" if answer.status_code == 401 else None
        raise PacosError(str(words or f"the server answers {answer.status_code}"), hint=hint)
    return found


def _background() -> str:
    from pacos.server import background

    found = background.running()
    if found is None:
        raise UsageError("no server runs in the background", hint="`pacos serve start` starts one, or give --url")
    return found.url


@click.command()
@with_server
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(url: str | None, api_key: str | None, as_json: bool) -> None:
    """List the models that a server has open, and until when they stay so.

    Example:  pacos ps --url http://127.0.0.1:8080
    """
    models = asked(url, api_key, "/api/ps")["models"]
    if as_json:
        render.as_json(models)
        return
    if not models:
        render.note("no model is open", always=True)
        return
    rows = [
        (
            render.printable(one["name"]),
            render.size_text(one["size"]),
            render.printable(one["details"]["quantization_level"]),
            one["context_length"],
            "for ever" if one["expires_at"].startswith("9999") else render.printable(one["expires_at"][:19]),
        )
        for one in models
    ]
    render.table(("name", "size", "type", "context", "until"), rows)
