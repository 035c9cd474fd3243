"""FunctionGemma: as Gemma 4 with other markers."""

from pacos.text.tools.gemma import GemmaCalls

FORMAT = GemmaCalls(
    name="function_gemma",
    signs=(("<start_function_call>",),),
    order=9,
    openers=("<start_function_call>",),
    markers=("<end_function_call>", "<escape>"),
    repeats=True,
    quote="<escape>",
    closer="<end_function_call>",
)
