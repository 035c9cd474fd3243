"""Llama 4 and 3.2 under templates that ask for it: a list of Python calls, and nothing else."""

from pacos.text.pythonic import PythonicCalls

FORMAT = PythonicCalls(name="llama4", signs=(("func_name1(params_name1=params_value1",),), order=10, at_start=True)
