"""FireFunction v2: functools and a list of calls."""

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(name="firefunction", signs=((" functools[",),), order=20, openers=("functools",), array=True)
