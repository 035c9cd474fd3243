"""Granite 3: <|tool_call|> and a list of calls; Phi-4 mini: an object, with an end."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="granite",
    signs=(("<|tool_call|>", "!<|/tool_call|>"),),
    order=45,
    openers=("<|tool_call|>", "<tool_call>"),
    array=True,
)
