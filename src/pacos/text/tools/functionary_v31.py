"""Functionary v3.1 on Llama 3.1: <function=name>{...}</function>."""

from pacos.text.call_syntax import NamedCalls

FORMAT = NamedCalls(
    name="functionary_v31",
    signs=(("<function=", "<|start_header_id|>", "!<parameter="),),
    order=30,
    openers=("<function=",),
    between=(">",),
    closer=("</function>",),
    repeats=True,
)
