"""Qwen3-Coder, Nemotron 3: functions and parameters between tags, inside <tool_call>."""

from pacos.text.xml_calls import XmlCalls

FORMAT = XmlCalls(
    name="qwen3_coder",
    signs=(("<tool_call>", "<function=", "<parameter="),),
    order=20,
    openers=("<tool_call>", "<function="),
    call=("<function=", ">"),
    key=("<parameter=", ">"),
    value=("", "</parameter>"),
    ends=("</function>",),
    closer="</tool_call>",
    repeats=True,
)
