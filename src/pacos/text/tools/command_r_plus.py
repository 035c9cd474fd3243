"""Command R and R+ of 2024: Action: and a list of calls in a code block."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(
    name="command_r_plus",
    signs=(("Action:", "<|CHATBOT_TOKEN|>", "tool_name"),),
    order=25,
    openers=("Action: ```json\n", "Action:```json\n", "Action: ```json"),
    closer="```",
    array=True,
    name_key="tool_name",
    arguments_key="parameters",
    gap="\n",
)
