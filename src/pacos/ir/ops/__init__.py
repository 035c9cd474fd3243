"""All ops by name: `ops.linear`, `ops.rope`; each module beside this one is found and joined here."""

from __future__ import annotations

import importlib
import pkgutil
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # these two are named like their modules, which a type checker would see instead
    from pacos.ir.ops.attention import attention as attention
    from pacos.ir.ops.rope import rope as rope

for _found in pkgutil.iter_modules(__path__):
    _module = importlib.import_module(f"{__name__}.{_found.name}")
    for _name, _member in vars(_module).items():
        if isinstance(_member, FunctionType) and _member.__module__ == _module.__name__ and not _name.startswith("_"):
            globals()[_name] = _member


def __getattr__(name: str) -> Any:
    raise AttributeError(f"no op named {name}")
