"""DeepSeek V3 and R1: sections of calls whose arguments stand in a JSON code block."""

from dataclasses import dataclass

from pacos.text.call_syntax import NamedCalls
from pacos.text.tools import Tool

HEAD = "<｜tool▁call▁begin｜>"
SEPARATOR = "<｜tool▁sep｜>"


@dataclass(frozen=True, kw_only=True)
class DeepSeekCalls(NamedCalls):
    """Calls with the word function before their names."""

    def split_name(self, written: str) -> tuple[str, str]:
        """The name after the separator."""
        return written.rpartition(SEPARATOR)[2].strip(), ""

    def write_name(self, tool: Tool) -> tuple[str, ...]:
        """The word, the separator and the name."""
        return ("function", SEPARATOR, tool.name)


FORMAT = DeepSeekCalls(
    name="deepseek_r1",
    signs=(("<｜tool▁calls▁begin｜>", "```json"),),
    order=20,
    openers=("<｜tool▁calls▁begin｜>", "<｜tool_calls_begin｜>", "<｜tool calls begin｜>", HEAD),
    markers=(HEAD, SEPARATOR, "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    section="<｜tool▁calls▁end｜>",
    head=HEAD,
    between=("\n```json\n", "\n```json"),
    closer=("\n```<｜tool▁call▁end｜>", "```<｜tool▁call▁end｜>"),
    example=(
        f"<｜tool▁calls▁begin｜>{HEAD}function{SEPARATOR}the function's name\n```json\n"
        '{"the argument\'s name": "its value"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    ),
)
