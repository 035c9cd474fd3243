"""GLM 4.5 and 4.6: the name, then keys and values between tags, inside <tool_call>."""

from pacos.text.xml_calls import XmlCalls

FORMAT = XmlCalls(
    name="glm",
    signs=(("<arg_key>", "<arg_value>"),),
    order=10,
    openers=("<tool_call>",),
    markers=("</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    call=("", "\n"),
    key=("<arg_key>", "</arg_key>"),
    value=("<arg_value>", "</arg_value>"),
    closer="</tool_call>",
    inner="",
    repeats=True,
)
