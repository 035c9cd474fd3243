"""Seed-OSS: functions and parameters between tags, inside <seed:tool_call>."""

from pacos.text.xml_calls import XmlCalls

FORMAT = XmlCalls(
    name="seed_oss",
    signs=(("<seed:tool_call>",),),
    order=10,
    openers=("<seed:tool_call>",),
    markers=("</seed:tool_call>",),
    call=("<function=", ">"),
    key=("<parameter=", ">"),
    value=("", "</parameter>"),
    ends=("</function>",),
    closer="</seed:tool_call>",
    inner="",
    repeats=True,
)
