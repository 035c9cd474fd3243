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
    start = start or _after_thought(lark, wanted)
    grammars: list[Grammar] = [{"lark_grammar": lark.written(start)}]
    return grammars if wanted.answer is None or wanted.required else [*grammars, wanted.answer]


def _after_thought(lark: Lark, wanted: Wanted) -> str:
    thinking = wanted.thinking
    body = _body(lark, wanted)
    if thinking is None:
        return body
    free = not wanted.required and wanted.answer is None
    markers = (*wanted.form.openers, *wanted.form.markers) if wanted.form is not None else ()
    opens, ends = thinking.opens[0], lark.through(thinking.closes[0], markers)
    if free:
        after = f"{ends} ({body})"
        if wanted.opened:
            return f"{lark.free()} | {after}"
        return f"{lark.begun(opens)} {after} | {_body(lark, wanted, avoid=opens)}"
    after = f"{ends} {_SPACE} ({body})"
    return after if wanted.opened else f"({lark.marker(opens)} {ends} {_SPACE})? ({body})"


def _body(lark: Lark, wanted: Wanted, avoid: str = "") -> str:
    form, thinking = wanted.form, wanted.thinking
    wrappers = thinking.wrappers if thinking else ()
    answer = "@answer" if wanted.answer is not None and not wanted.required else ""
    if answer and wrappers:
        optional = [f"{lark.marker(wrapper)}?" for wrapper in wrappers]
        answer = " ".join([*optional[:1], answer, *optional[1:]])
    if form is None or not wanted.tools:
        return answer or lark.free(wrappers, avoid)
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
    lead, free = lark.through(opener, wrappers, avoid), lark.free(wrappers, avoid)
    if not wanted.parallel:
        return f"{free} | {lead} {rest}"
    if not avoid:
        return f"({lead} {rest})* {free}"
    return f"{free} | {lead} {rest} ({lark.through(opener, wrappers)} {rest})* {lark.free(wrappers)}"
