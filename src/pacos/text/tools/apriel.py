"""Apriel and Hunyuan: a list of calls between <tool_calls> tags."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="apriel",
    signs=(("<tool_calls>", "</tool_calls>"),),
    order=20,
    openers=("<tool_calls>",),
    closer="</tool_calls>",
    array=True,
)
