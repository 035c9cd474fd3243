"""FireFunction v2: functools and a list of calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pacos.text.call_syntax import JsonCalls


@dataclass(frozen=True, kw_only=True)
class FireCalls(JsonCalls):
    """A list whose template wants the tools as text, and the time."""

    def variables(self, tools: Sequence[Any], now: datetime) -> dict[str, Any]:
        """The tools and the time under the template's names."""
        return {"functions": json.dumps(list(tools), indent=4), "datetime": now.strftime("%b %d %Y %H:%M:%S GMT")}


FORMAT = FireCalls(name="firefunction", signs=((" functools[",),), order=20, openers=("functools",), array=True)
