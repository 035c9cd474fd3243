"""Prompts that fill a gap: what comes before and after it, for models that were taught to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pacos.errors import UsageError

if TYPE_CHECKING:
    from pacos.llm import LLM

_MARKS = ("fim_pre", "fim_suf", "fim_mid")


def can_fill(llm: LLM) -> bool:
    """Whether a model has the tokens that mark a gap."""
    return all(name in llm.tokenizer.special for name in _MARKS)


def infill_tokens(
    llm: LLM,
    before: str | Sequence[int],
    after: str,
    begun: str = "",
    files: Sequence[tuple[str, str]] = (),
) -> list[int]:
    """The prompt: names and texts of other files first, then what is before and after the gap, and how it begins.

    Errors: UsageError for a model without the tokens that mark these. Source: arXiv:2409.12186 for several files.
    """
    marks = llm.tokenizer.special
    missing = [name for name in _MARKS if name not in marks]
    if missing:
        problem = f"this model cannot fill gaps: it has no {', '.join(missing)} token"
        raise UsageError(problem, hint="use a model for code completion")

    def plain(text: str) -> list[int]:
        return llm.tokenize(text, add_special=False)

    return [
        *llm.tokenize(""),  # what every text of the model begins with
        *_files(files, marks, plain),
        marks["fim_pre"],
        *(plain(before) if isinstance(before, str) else before),
        marks["fim_suf"],
        *plain(after),
        marks["fim_mid"],
        *plain(begun),
    ]


def _files(files: Sequence[tuple[str, str]], marks: Mapping[str, int], plain: Callable[[str], list[int]]) -> list[int]:
    """Other files, each with its name where the model has a token for that."""
    separator, repository = marks.get("fim_sep"), marks.get("fim_rep")
    if separator is None or not files:
        return [token for _, text in files for token in plain(text)]
    ids = [repository, *plain("myproject\n")] if repository is not None else []
    for name, text in files:
        ids += [separator, *plain(f"{name}\n{text}\n")]
    return [*ids, separator, *plain("filename\n")]
