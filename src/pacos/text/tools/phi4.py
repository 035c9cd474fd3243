"""Phi-4 mini: an object or a list of calls between tool call tokens."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="phi4",
    signs=(("<|tool_call|>", "<|/tool_call|>"),),
    order=44,
    openers=("<|tool_call|>",),
    markers=("<|/tool_call|>",),
    closer="<|/tool_call|>",
    repeats=True,
)
