"""LFM2: a list of Python calls between tokens."""

from pacos.text.pythonic import PythonicCalls

FORMAT = PythonicCalls(
    name="lfm2",
    signs=(("<|tool_list_start|>",), ("<|tool_call_start|>",), ("List of tools: [",)),
    order=10,
    openers=("<|tool_call_start|>",),
    markers=("<|tool_call_end|>",),
    closer="<|tool_call_end|>",
)
