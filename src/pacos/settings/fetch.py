"""Options of commands that need a model which may not be here yet."""

from __future__ import annotations

from dataclasses import dataclass

from pacos.settings.option import check, option


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What happens where the model is not here: on a terminal a question, elsewhere an error."""

    pull: bool = option(False, flags=("--pull",), help="Download the model without a question where it is not here.")
    offline: bool = option(False, flags=("--offline",), help="Ask no other machine, whatever else is said.")
    hf_file: str = option(
        "",
        flags=("--hf-file", "-hff"),
        metavar="NAME",
        help="The file of the repository that the model's name means, in place of a quantization.",
    )

    def __post_init__(self) -> None:
        check(self)
