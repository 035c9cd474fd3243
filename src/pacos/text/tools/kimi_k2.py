"""Kimi K2: sections of calls with ids such as functions.name:0."""

from dataclasses import dataclass

from pacos.text.call_syntax import NamedCalls
from pacos.text.tools import Tool

HEAD = "<|tool_call_begin|>"


@dataclass(frozen=True, kw_only=True)
class KimiCalls(NamedCalls):
    """Calls whose ids have the names in them."""

    def split_name(self, written: str) -> tuple[str, str]:
        """The name in the middle of the id, and the id."""
        call_id = written.strip()
        name = call_id.removeprefix("functions.")
        head, colon, number = name.rpartition(":")
        return (head if colon and number.isdigit() else name), call_id

    def write_name(self, tool: Tool) -> tuple[str, ...]:
        """An id without its number, which `number` writes."""
        return (f"functions.{tool.name}:",)

    def fit_id(self, call_id: str, name: str, index: int) -> str:
        """The id, or one that the model could have made."""
        return call_id if call_id.startswith(f"functions.{name}:") else f"functions.{name}:{index}"


FORMAT = KimiCalls(
    name="kimi_k2",
    signs=(("<|tool_calls_section_begin|>",), ("<|im_system|>tool_declare<|im_middle|>",)),
    order=20,
    openers=("<|tool_calls_section_begin|>", HEAD),
    markers=("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_calls_section_end|>"),
    section="<|tool_calls_section_end|>",
    head=HEAD,
    number=True,
    between=("<|tool_call_argument_begin|>",),
    closer=("<|tool_call_end|>",),
)
