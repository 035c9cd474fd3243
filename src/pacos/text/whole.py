"""The grammar of a whole answer: thoughts, then a constrained text, or calls of tools, or both to choose from."""

from __future__ import annotations

from collections.abc import Callable

from pacos.text.grammar import Grammar
from pacos.text.lark import Lark
from pacos.text.tools import Wanted

_SPACE = "/[ \\t\\r\\n]{0,8}/"


def whole_grammar(wanted: Wanted, control_id: Callable[[str], int | None]) -> list[Grammar]:
    """Grammars for `GrammarVocabulary.constraint`."""
    lark = Lark(control_id)
    start = wanted.form.whole(lark, wanted) if wanted.form is not None else ""
    start = start or _after_thought(lark, wanted, _body(lark, wanted))
    grammars: list[Grammar] = [{"lark_grammar": lark.written(start)}]
    return grammars if wanted.answer is None or wanted.required else [*grammars, wanted.answer]


def _after_thought(lark: Lark, wanted: Wanted, body: str) -> str:
    thinking = wanted.thinking
    if thinking is None:
        return body
    free = not wanted.required and wanted.answer is None
    space = "" if free else f"{_SPACE} "
    opens, closes = thinking.opens[0], thinking.closes[0]
    if wanted.opened:
        rest = f"{lark.through(closes)} {space}({body})"
        return f"{lark.free()} | {rest}" if free else rest
    if free and not lark.is_token(opens):
        return body  # free text takes in the thought
    return f"({lark.marker(opens)} {lark.through(closes)} {space})? ({body})"


def _body(lark: Lark, wanted: Wanted) -> str:
    form, thinking = wanted.form, wanted.thinking
    wrappers = thinking.wrappers if thinking else ()
    answer = "@answer" if wanted.answer is not None and not wanted.required else ""
    if answer and wrappers:
        optional = [f"{lark.marker(wrapper)}?" for wrapper in wrappers]
        answer = " ".join([*optional[:1], answer, *optional[1:]])
    if form is None or not wanted.tools:
        return answer or lark.free(wrappers)
    rest = form.grammar(lark, wanted.tools, parallel=wanted.parallel)
    opener = form.openers[0] if form.openers and not form.at_start else ""
    if wanted.required or answer:
        call = " ".join(filter(None, (lark.marker(opener), rest)))
        if form.repeats and wanted.parallel:
            call = lark.rule("call", call)
            call = f"{call} ({_SPACE} {call})*"
        if answer:
            return f"{answer} | {call}"
        return call if form.at_start else f"{_SPACE} ({call})"
    if form.at_start:
        return form.optional(lark, rest, wanted.tools)
    lead = lark.through(opener, wrappers)
    free = lark.free(wrappers)
    return f"({lead} {rest})* {free}" if wanted.parallel else f"{free} | {lead} {rest}"
