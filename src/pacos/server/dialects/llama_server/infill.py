"""llama-server's infill: code between a prefix and a suffix, for models that were taught to."""

from __future__ import annotations

from starlette.types import ASGIApp

from pacos.llm.infill import can_fill, infill_tokens
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
    """Fill the gap. Errors: RequestError 501 for a model that cannot."""
    body = call.body
    resident = await call.resident(body.model)
    llm = resident.llm
    if not can_fill(llm):
        problem = "this model cannot fill gaps: it has no tokens fim_pre, fim_suf and fim_mid"
        raise RequestError(problem, status=501, code="unsupported", hint="use a model for code completion")
    files = [(one.filename or "tmp", one.text) for one in body.input_extra or ()]
    size = len(body.input_prefix) + len(body.input_suffix) + sum(len(text) for _, text in files)
    parts = (body.input_prefix, body.input_suffix, body.prompt or "", files)
    ids = await call.prepared(size, lambda: infill_tokens(llm, *parts))
    return await completion.answer(call, resident, [ids], several=False)
