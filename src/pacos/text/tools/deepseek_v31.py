"""DeepSeek V3.1: sections of calls, name and arguments divided by a token."""

from pacos.text.call_syntax import NamedCalls
from pacos.text.tools.deepseek_r1 import HEAD, SEPARATOR

FORMAT = NamedCalls(
    name="deepseek_v31",
    signs=(("<｜tool▁calls▁begin｜>", "!```json"),),
    order=21,
    openers=("<｜tool▁calls▁begin｜>", HEAD),
    markers=(SEPARATOR, "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    section="<｜tool▁calls▁end｜>",
    head=HEAD,
    between=(SEPARATOR,),
    closer=("<｜tool▁call▁end｜>",),
    example=(
        f"<｜tool▁calls▁begin｜>{HEAD}the function's name{SEPARATOR}"
        '{"the argument\'s name": "its value"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    ),
)
