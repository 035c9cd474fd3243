"""`pacos sessions`: list, read, search, rename, export, import and remove conversations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.convert import check_output
from pacos.cli.options import read_text_option
from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.sessions import Conversation, Message

_TITLE_CHARACTERS = 60


@click.group()
def command() -> None:
    """Manage the conversations that `pacos chat` and the web page keep.

    NAME is a title, an id, or the beginning of an id.

    Example:  pacos sessions search "dragon"
    """


@command.command("list")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Only the latest N.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_command(limit: int | None, as_json: bool) -> None:
    """List the conversations, the latest first."""
    from pacos.sessions import Sessions

    with Sessions() as sessions:
        found = sessions.list(limit)
    if as_json:
        render.as_json([_data(one) for one in found])
    elif found:
        rows = [(one.id, *_cells(one), one.message_count, render.ago(one.updated)) for one in found]
        render.table(("id", "title", "model", "messages", "changed"), rows)
    else:
        render.note("there are no conversations", always=True)


@command.command()
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="All branches, not only the one that is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(name: str, everything: bool, as_json: bool) -> None:
    """Print a conversation."""
    from pacos.sessions import Sessions

    with Sessions() as sessions:
        one = sessions.find(name)
        messages = sessions.messages(one.id) if everything else sessions.path(one.id)
    if as_json:
        render.as_json({**_data(one), "messages": [_data(message) for message in messages]})
        return
    click.echo(f"{render.styled(render.printable(one.title or one.id), bold=True)}  {one.id}")
    facts = [one.model, f"{one.message_count} messages", render.ago(one.updated)]
    click.echo(" · ".join(render.printable(fact) for fact in facts if fact))
    said = [("system", "", one.system)] if one.system else []
    said += [
        (each.role, ", ".join(str(file.get("name", "file")) for file in each.attachments), each.content)
        for each in messages
    ]
    speaker = render.Speaker()
    for role, files, content in said:
        click.echo("\n" + render.styled(render.printable(role), bold=True))
        speaker.say((f"[{files}]\n" if files else "") + content + "\n")


@command.command()
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
@click.option(
    "-n", "--limit", default=20, type=click.IntRange(min=1), show_default=True, metavar="N", help="At most N."
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def search(text: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find titles and messages that hold all words; "quoted" words stand together.

    When nothing is found it says so on standard error and exits with 1, as grep does.
    """
    import sys

    from pacos.sessions import Sessions

    if not "".join(text).strip():
        raise UsageError("there is nothing to search for", hint="give words, such as `pacos sessions search dragon`")
    with Sessions() as sessions:
        hits = sessions.search(" ".join(text), limit)
    if as_json:
        rows = [
            {
                **_data(hit.conversation),
                "message": _data(hit.message) if hit.message is not None else None,
                "excerpt": hit.excerpt,
            }
            for hit in hits
        ]
        render.as_json(rows)
    elif hits:
        cells = [
            (hit.conversation.id, hit.message.role if hit.message is not None else "title", hit.excerpt) for hit in hits
        ]
        render.table(("id", "where", "text"), [tuple(map(render.printable, row)) for row in cells])
    else:
        render.note("nothing is found", always=True)
    if not hits:
        sys.exit(1)


@command.command()
@click.argument("name")
@click.argument("title")
def rename(name: str, title: str) -> None:
    """Give a conversation another title."""
    from pacos.sessions import Sessions

    with Sessions() as sessions:
        one = sessions.rename(sessions.find(name).id, title)
    click.echo(f"{one.id} is {render.printable(one.title)}")


@command.command("rm")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="All conversations.")
def remove(names: tuple[str, ...], everything: bool) -> None:
    """Remove conversations for good."""
    from pacos.sessions import Sessions

    if bool(names) == everything:
        raise UsageError("give NAME..., or --all", hint="`pacos sessions list` tells the names")
    with Sessions() as sessions:
        chosen = sessions.list() if everything else [sessions.find(name) for name in names]  # all, before any goes
        for one in {one.id: one for one in chosen}.values():
            sessions.delete(one.id)
            click.echo(f"removed {render.printable(one.title or one.id)}")


@command.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="All conversations.")
@click.option("-o", "--output", metavar="FILE", help="Write to a file, not to standard output.")
@click.option(
    "--format", "form", type=click.Choice(["json", "md"]), help="json or md; without it what FILE ends with, or json."
)
@click.option("--force", is_flag=True, help="Replace FILE when it is there.")
def export(names: tuple[str, ...], everything: bool, output: str | None, form: str | None, force: bool) -> None:
    """Write conversations as JSON, which `import` reads, or as Markdown.

    JSON holds all branches, Markdown the one that is shown.

    Example:  pacos sessions export "My talk" -o talk.md
    """
    from pacos.sessions import Sessions

    if bool(names) == everything:
        raise UsageError("give NAME..., or --all", hint="`pacos sessions list` tells the names")
    if output is not None:
        check_output(Path(output), force)
    if form is None:
        form = "md" if output is not None and Path(output).suffix.lower() == ".md" else "json"
    with Sessions() as sessions:
        chosen = sessions.list() if everything else [sessions.find(name) for name in names]
        text = sessions.export(*(one.id for one in chosen), format=form)
    if output is None:
        render.write(text if text.endswith("\n") else text + "\n")
    else:
        write_export(output, text)
        click.echo(f"wrote {len(chosen)} conversation{'s' if len(chosen) != 1 else ''} to {render.printable(output)}")


def write_export(path: str, text: str) -> None:
    """Write a text to a file that appears whole or not at all. Errors: UsageError, CapacityError."""
    from pacos.formats.atomic import atomic_file

    data = text.encode()
    with atomic_file(path, len(data)) as stream:
        stream.write(data)


@command.command("import")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON.")
def import_command(file: str, as_json: bool) -> None:
    """Add the conversations of an export, or a JSON list of messages with role and content; - is standard input."""
    from pacos.sessions import Sessions

    text = read_text_option(file, "FILE")
    with Sessions() as sessions:
        added = sessions.import_json(text)
    if as_json:
        render.as_json([_data(one) for one in added])
    for one in () if as_json else added:
        click.echo(f"added {one.id}  {render.printable(one.title)}")


def _cells(one: Conversation) -> tuple[str, str]:
    return render.printable(one.title, _TITLE_CHARACTERS), render.printable(one.model, _TITLE_CHARACTERS)


def _data(one: Conversation | Message) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(one)
