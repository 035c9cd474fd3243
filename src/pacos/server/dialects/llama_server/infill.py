"""llama-server's infill: code between a prefix and a suffix, for models that were taught to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from pacos.llm import LLM
from pacos.server.call import Call
from pacos.server.dialects.llama_server import completion, shapes
from pacos.server.fields import Fields, with_options
from pacos.server.problem import RequestError


class Extra(Fields):
    """A piece of context from another file."""

    text: str
    filename: str | None = None


class InfillFields(shapes.Generating, kw_only=True):
    """A request to fill a gap."""

    input_prefix: str
    input_suffix: str
    input_extra: list[Extra] | None = None
    prompt: str | None = None


InfillRequest = with_options(InfillFields, shapes.GROUPS, names=shapes.NAMES)


async def run(call: Call[InfillFields]) -> ASGIApp:
    """Fill the gap."""
    body = call.body
    resident = await call.resident(body.model)
    size = len(body.input_prefix) + len(body.input_suffix) + sum(len(one.text) for one in body.input_extra or ())
    ids = await call.prepared(size, lambda: infill_tokens(body, resident.llm))
    return await completion.answer(call, resident, [ids], several=False)


def infill_tokens(body: InfillFields, llm: LLM) -> list[int]:
    """The prompt: other files first, then prefix, suffix and where to go on.

    Errors: RequestError for a model without the tokens that mark these. Source: arXiv:2409.12186 for several files.
    """
    marks = llm.tokenizer.special
    missing = [name for name in ("fim_pre", "fim_suf", "fim_mid") if name not in marks]
    if missing:
        problem = f"this model cannot fill gaps: it has no {', '.join(missing)} token"
        raise RequestError(problem, status=501, code="unsupported", hint="use a model for code completion")

    def plain(text: str) -> list[int]:
        return llm.tokenize(text, add_special=False)

    return [
        *llm.tokenize(""),  # what every text of the model begins with
        *_extras(body.input_extra or [], marks, plain),
        marks["fim_pre"],
        *plain(body.input_prefix),
        marks["fim_suf"],
        *plain(body.input_suffix),
        marks["fim_mid"],
        *plain(body.prompt or ""),
    ]


def _extras(extras: list[Extra], marks: Mapping[str, int], plain: Callable[[str], list[int]]) -> list[int]:
    """Other files, each with its name where the model has a token for that."""
    separator, repository = marks.get("fim_sep"), marks.get("fim_rep")
    if separator is None or not extras:
        return [token for one in extras for token in plain(one.text)]
    ids = [repository, *plain("myproject\n")] if repository is not None else []
    for one in extras:
        ids += [separator, *plain(f"{one.filename or 'tmp'}\n{one.text}\n")]
    return [*ids, separator, *plain("filename\n")]
