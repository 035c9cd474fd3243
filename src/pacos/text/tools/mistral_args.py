"""Mistral from Small 3.2 on, Magistral, Devstral: [TOOL_CALLS]name[ARGS]{...}, also with [CALL_ID] before [ARGS]."""

from dataclasses import dataclass

from pacos.text.call_syntax import NamedCalls
from pacos.text.tools.mistral import FORMAT as LIST


@dataclass(frozen=True, kw_only=True)
class MistralNamedCalls(NamedCalls):
    """Calls with an id between name and arguments."""

    def split_name(self, written: str) -> tuple[str, str]:
        """The name, and the id where there is one."""
        name, _, call_id = written.partition("[CALL_ID]")
        return name.strip(), call_id.strip()

    def new_id(self) -> str:
        """Nine letters and digits."""
        return LIST.new_id()

    def fit_id(self, call_id: str, name: str, index: int) -> str:
        """The id, or nine digits made of it."""
        return LIST.fit_id(call_id, name, index)


FORMAT = MistralNamedCalls(
    name="mistral_args",
    signs=(("[TOOL_CALLS]", "[ARGS]"),),
    order=30,
    openers=("[TOOL_CALLS]",),
    markers=("[ARGS]", "[CALL_ID]"),
    between=("[ARGS]",),
    repeats=True,
)
