"""Command R7B and Command A: a list of calls between action tokens."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="command_r",
    signs=(("<|START_ACTION|>",),),
    order=20,
    openers=("<|START_ACTION|>",),
    markers=("<|END_ACTION|>",),
    closer="<|END_ACTION|>",
    array=True,
    name_key="tool_name",
    arguments_key="parameters",
)
