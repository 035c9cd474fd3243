"""llama-server's arguments and variables as ours, so that programs which start it can start us instead.

llama_flags.txt says of every one whether it is ours under the same or another name, changes nothing, or is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pacos.errors import UsageError

_TABLE = Path(__file__).with_name("llama_flags.txt")
_AUTOMATIC = {"--threads", "--parallel"}  # -1 there is 0 here
_TRUE = {"1", "on", "true", "enabled", "yes"}


@dataclass(frozen=True, slots=True)
class LlamaFlag:
    """One of llama-server's arguments: `kind` is same, pull, none or refuse, `word` our flag or the reason.

    `arguments` are how many follow it; `optional` when the one may be left out.
    """

    flags: tuple[str, ...]
    arguments: int
    optional: bool
    variable: str
    kind: str
    word: str


@cache
def llama_flags() -> tuple[LlamaFlag, ...]:
    """Every argument of llama-server."""
    found = []
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            flags, count, variable, meaning = line.split(" | ")
            kind, _, word = meaning.partition(" ")
            number = 1 if count == "?" else int(count)
            found.append(
                LlamaFlag(
                    tuple(flags.split(", ")), number, count == "?", "" if variable == "-" else variable, kind, word
                )
            )
    return tuple(found)


def translated(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Our arguments for llama-server's, and notes on what changes nothing. What is not llama-server's stays.

    Variables come first, so that arguments win over them; one of ours that says the same wins too.
    Errors: UsageError for what is refused.
    """
    by_flag = {flag: one for one in llama_flags() for flag in one.flags}
    found, notes = _from_variables(environment)
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return [*found, word, *waiting], notes
        name, equals, value = word.partition("=")
        one = by_flag.get(name if name.startswith("--") else word)
        if one is None:
            found.append(word)
            continue
        values = [value] if equals else _values(one, waiting)
        _add(one, name if equals else word, values, found, notes)
    return found, notes


def _values(one: LlamaFlag, waiting: list[str]) -> list[str]:
    if one.optional and (not waiting or waiting[0].startswith("-")):
        return []
    return [waiting.pop(0) for _ in range(min(one.arguments, len(waiting)))]


def is_off(flag: str) -> bool:
    """Whether an argument switches something off."""
    return flag.startswith(("--no-", "-no", "-nr", "-nkvo"))


def _add(one: LlamaFlag, flag: str, values: list[str], found: list[str], notes: list[str]) -> None:
    if one.kind == "same":
        if one.word in _AUTOMATIC:
            values = ["0" if value == "-1" else value for value in values]
        if not is_off(flag):
            found += [one.word, *values]
        elif "=" not in one.word:  # else it is off anyway
            found += [f"--no-{one.word[2:]}", *values]
    elif one.kind == "pull":
        found += [one.word, *values, "--pull"]
    elif one.kind == "none" or is_off(flag):
        notes.append(f"{flag} has no effect: {one.word}")
    else:
        raise UsageError(f"{flag} cannot be used", hint=one.word)


def _from_variables(environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    found: list[str] = []
    notes: list[str] = []
    for one in llama_flags():
        text = environment.get(one.variable, "") if one.variable else ""
        if text == "" or f"PACOS_{one.word[2:].upper().replace('-', '_')}" in environment:
            continue
        try:
            if one.arguments:
                _add(one, next(flag for flag in one.flags if flag.startswith("--")), [text], found, notes)
            else:
                _add(one, switched(one, on=text.lower() in _TRUE), [], found, notes)
        except UsageError as error:
            raise UsageError(f"variable {one.variable} cannot be used", hint=error.hint) from None
        except LookupError:
            continue  # false for what is off anyway
    return found, [note for note in notes if not note.startswith("--no-")]


def switched(one: LlamaFlag, *, on: bool) -> str:
    """The long flag that switches something on or off. Errors: LookupError when there is no flag for off."""
    names = [flag for flag in one.flags if flag.startswith("--") and is_off(flag) != on]
    return names[0]
