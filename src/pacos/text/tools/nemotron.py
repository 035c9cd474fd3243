"""Nemotron Nano v2 and Super v1.5: a list of calls between <TOOLCALL> tags."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="nemotron",
    signs=(("<TOOLCALL>",),),
    order=20,
    openers=("<TOOLCALL>",),
    closer="</TOOLCALL>",
    array=True,
)
