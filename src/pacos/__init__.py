"""Pacos runs language models on the machine you have.

    import pacos

    with pacos.load("storyteller") as llm:
        print(llm.generate("Tell me a story about a dragon.").text)

Every public name is imported when it is first used: `import pacos` alone loads nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing's constant, without the import of typing
if TYPE_CHECKING:
    from typing import Any

    from pacos import errors as errors
    from pacos.errors import PacosError as PacosError
    from pacos.llm import LLM as LLM
    from pacos.llm import Stream as Stream
    from pacos.llm import load as load
    from pacos.models import HuggingFace as HuggingFace
    from pacos.models import architecture as architecture
    from pacos.settings import GenerateOptions as GenerateOptions
    from pacos.settings import LoadOptions as LoadOptions
    from pacos.settings import SamplingOptions as SamplingOptions
    from pacos.types import Completion as Completion
    from pacos.types import Event as Event
    from pacos.types import TokenScore as TokenScore
    from pacos.types import ToolCallDelta as ToolCallDelta

_HOMES = {
    "LLM": "pacos.llm",
    "Stream": "pacos.llm",
    "load": "pacos.llm",
    "HuggingFace": "pacos.models",
    "architecture": "pacos.models",
    "PacosError": "pacos.errors",
    "GenerateOptions": "pacos.settings",
    "LoadOptions": "pacos.settings",
    "SamplingOptions": "pacos.settings",
    "Completion": "pacos.types",
    "Event": "pacos.types",
    "TokenScore": "pacos.types",
    "ToolCallDelta": "pacos.types",
}
__all__ = ["__version__", "errors", *_HOMES]  # noqa: PLE0604 (the names are strings)


def __getattr__(name: str) -> Any:
    """Import the public name when it is first used."""
    import importlib

    if name == "errors":
        return importlib.import_module("pacos.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'pacos' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
