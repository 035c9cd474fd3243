"""Give models second names."""

from __future__ import annotations

from dataclasses import replace as changed
from pathlib import Path

from pacos.errors import UsageError
from pacos.hub.entries import Entry, changing, find_entry, write_entry
from pacos.hub.names import find
from pacos.hub.spelling import checked_name
from pacos.hub.store import BUNDLED, StoredModel


def _new_name(name: str, model: str) -> None:
    checked_name(name)
    if name in BUNDLED:
        raise UsageError(f"{name} is the name of a bundled model", hint="choose another one")
    if name.lower() == model.lower():
        raise UsageError(f"{name} would stand for itself", hint="choose another name")


def _entry(name: str, found: StoredModel) -> Entry:
    return Entry(name, model=found.name) if found.named else Entry(name, path=str(found.path.resolve()))


def alias(name: str, model: str) -> None:
    """Have a name stand for another one, in place of what it meant. Errors: UsageError; ModelNotFound."""
    _new_name(name, model)
    found = find(model)
    with changing():
        _refuse_own_files(name)
        write_entry(_entry(name, found))


def create(entry: Entry) -> None:
    """Keep an entry, in place of what had its name. Errors: UsageError when files of the store would be lost."""
    _new_name(entry.name, entry.model)
    with changing():
        _refuse_own_files(entry.name)
        write_entry(entry)


def _refuse_own_files(name: str) -> None:
    before = find_entry(name)
    if before is not None and before.path and not Path(before.path).is_absolute():
        raise UsageError(f"{name} has files of its own", hint=f"`pacos rm {name}` removes them")


def copy(model: str, name: str, *, replace: bool) -> None:
    """Give a model a second name with the same defaults. Errors: UsageError for a name that is taken; ModelNotFound."""
    _new_name(name, model)
    found = find(model)
    entry = find_entry(model)
    with changing():
        if not replace and find_entry(name) is not None:
            raise UsageError(f"there is a model {name}", hint="choose another name, or --force to replace it")
        if entry is not None:
            write_entry(changed(entry, name=name))
        else:
            write_entry(_entry(name, found))
