"""Hermes 2 and 3, Qwen 2.5 and 3, QwQ, Granite 4: a JSON object between <tool_call> tags, one pair for each call."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="hermes",
    signs=(("<tool_call>",),),
    order=60,
    openers=("<tool_call>",),
    closer="</tool_call>",
    repeats=True,
    gap="\n",
)
