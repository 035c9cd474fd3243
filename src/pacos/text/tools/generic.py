"""Models whose chat template knows no tools: they are told to write calls as Hermes does."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(name="generic", signs=(), openers=("<tool_call>",), closer="</tool_call>", repeats=True, gap="\n")
