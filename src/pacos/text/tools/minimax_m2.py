"""MiniMax M2: invocations with parameters, inside <minimax:tool_call>."""

from pacos.text.xml_calls import XmlCalls

FORMAT = XmlCalls(
    name="minimax_m2",
    signs=(("<minimax:tool_call>",),),
    order=10,
    openers=("<minimax:tool_call>",),
    markers=("</minimax:tool_call>",),
    call=('<invoke name="', '">'),
    key=('<parameter name="', '">'),
    value=("", "</parameter>"),
    ends=("</invoke>",),
    closer="</minimax:tool_call>",
    inner="",
)
