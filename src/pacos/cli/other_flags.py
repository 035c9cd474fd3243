"""Arguments of llama-rs, igllama and llama.cpp's programs in our words, so that lines for them go on working.

other_flags.txt says what each of llama-rs's and igllama's is; of those of llama.cpp the table of the server does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from pacos.cli import render
from pacos.cli.options import Sectioned, read_text_option
from pacos.errors import UsageError

_TABLE = Path(__file__).with_name("other_flags.txt")
_PAIR = re.compile(r"\s*(\d{1,10})\s*=\s*([+-]?[\d.]{1,20})\s*")
# The samplers of llama-rs's later form and their parameters as flags of ours; a lone parameter needs no name.
_SAMPLERS: dict[str, dict[str, str]] = {
    "repetition": {"penalty": "--repeat-penalty", "last_n": "--repeat-last-n"},
    "freqpresence": {
        "frequency": "--frequency-penalty",
        "presence": "--presence-penalty",
        "last_n": "--repeat-last-n",
    },
    "topk": {"k": "--top-k"},
    "topp": {"p": "--top-p"},
    "temperature": {"temperature": "--temp"},
    "locallytypical": {"p": "--typical"},
    "tailfree": {"z": "--tfs"},
    "minp": {"p": "--min-p"},
    "topa": {"a1": "--top-a"},
    "mirostat1": {"tau": "--mirostat-ent", "eta": "--mirostat-lr"},
    "mirostat2": {"tau": "--mirostat-ent", "eta": "--mirostat-lr"},
}


@dataclass(frozen=True, slots=True)
class OtherFlag:
    """An argument of another program: how many `arguments` follow it, and what it is here."""

    commands: tuple[str, ...]
    flags: tuple[str, ...]
    arguments: int
    kind: str
    words: str


@cache
def other_flags() -> tuple[OtherFlag, ...]:
    """Every one of the table."""
    found = []
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            commands, flags, count, meaning = line.split(" | ")
            kind, _, words = meaning.partition(" ")
            found.append(OtherFlag(tuple(commands.split()), tuple(flags.split(", ")), int(count), kind, words))
    return tuple(found)


class TakesOthers(Sectioned):
    """A command that takes the arguments of other programs too."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Read the arguments in our own words; a note says what changes nothing."""
        own = {flag for one in self.params for flag in (*one.opts, *one.secondary_opts)} | set(
            context.help_option_names
        )
        name = (self.callback.__module__ if self.callback is not None else "").rpartition(".")[2]
        return super().parse_args(context, translated(name, arguments, own))


def translated(command: str, arguments: Sequence[str], own: set[str]) -> list[str]:
    """The arguments of a command with those of other programs in our words. Errors: UsageError for what is refused."""
    by_flag = {flag: one for one in other_flags() if command in one.commands for flag in one.flags}
    waiting, found, places = list(arguments), list[str](), list[tuple[int, str]]()
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            found += [word, *waiting]
            break
        name, equals, value = word.partition("=")
        flag = name if name.startswith("--") and equals else word
        one = by_flag.get(flag)
        if flag in own or not flag.startswith("-"):
            found.append(word)
        elif one is None:
            found += _of_llama(word, waiting, own)
        else:
            given = [value] if flag != word else [waiting.pop(0) for _ in range(min(one.arguments, len(waiting)))]
            if len(given) < one.arguments:
                raise UsageError(f"{flag} requires an argument", hint=f"`pacos {command} --help` says more")
            if one.kind == "argument":
                places.append((int(one.words), given[0]))
            else:
                found += _ours(one, flag, given)
    return [*(value for _, value in sorted(places)), *found]


def _ours(one: OtherFlag, flag: str, given: list[str]) -> list[str]:
    if one.kind == "same":
        return [given[0] if word == "{}" else word for word in one.words.split()]
    if one.kind == "content":
        return [one.words, read_text_option(given[0], flag)]
    if one.kind == "biases":
        return _biases(given[0])
    if one.kind == "samplers":
        return _samplers(given[0])
    if one.kind == "refuse":
        raise UsageError(f"{flag} cannot be used", hint=one.words)
    render.note(f"{flag} has no effect: {one.words}")
    return []


def _of_llama(word: str, waiting: list[str], own: set[str]) -> list[str]:
    """What a flag that is neither ours nor in the table is, if it is one of llama.cpp's; its values leave `waiting`."""
    from pacos.server.llama_flags import llama_flags
    from pacos.server.llama_flags import translated as of_llama

    flag = word.partition("=")[0] if word.startswith("--") else word
    one = next((one for one in llama_flags() if flag in one.flags), None)
    if one is None or (one.kind in ("same", "pull") and one.word.partition("=")[0] not in own):
        return [word]
    count = 0 if flag != word or one.optional else one.arguments
    values = [waiting.pop(0) for _ in range(min(count, len(waiting)))]
    if one.optional and flag == word and waiting and not waiting[0].startswith("-"):
        values = [waiting.pop(0)]
    found, notes = of_llama([word, *values], {})
    for text in notes:
        render.note(text)
    return found


def _biases(text: str) -> list[str]:
    """llama-rs's "TOKEN=BIAS,TOKEN=BIAS". Errors: UsageError."""
    found = []
    for part in filter(None, text.split(",")):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise UsageError(f"--token-bias is {text[:80]!r}", hint="use TOKEN=BIAS,TOKEN=BIAS")
        bias = pair[2] if pair[2][0] in "+-" else f"+{pair[2]}"
        found += ["--logit-bias", pair[1] + bias]
    return found


def _samplers(text: str) -> list[str]:
    """llama-rs's later "topk:k=40/temperature:temperature=0.8". Errors: UsageError."""
    found = []
    for part in filter(None, re.split(r"[/\s]+", text)):
        name, *pairs = part.split(":")
        key = re.sub(r"[-_]", "", name).lower()
        known = _SAMPLERS.get(key)
        if known is None:
            raise UsageError(f"--sampler has {name[:40]!r}", hint=f"there are {', '.join(_SAMPLERS)}")
        found += ["--mirostat", key[-1]] if key.startswith("mirostat") else []
        for pair in pairs:
            parameter, equals, value = pair.partition("=")
            if not equals and len(known) == 1:
                parameter, value = next(iter(known)), pair
            if parameter not in known:
                raise UsageError(f"--sampler {name} has {pair[:40]!r}", hint=f"there are {', '.join(known)}")
            found += [known[parameter], value]
    return found
