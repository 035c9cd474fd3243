"""FireFunction v2: functools and a list of calls."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pacos.text.call_syntax import JsonCalls

FORMAT = JsonCalls(name="firefunction", signs=((" functools[",),), order=20, openers=("functools",), array=True)


def variables(source: str, tools: Sequence[Any], now: datetime) -> dict[str, Any]:
    """What this format's template wants to know beside the tools, and no other does."""
    if FORMAT.signs[0][0] not in source:
        return {}
    return {"functions": json.dumps(list(tools), indent=4), "datetime": now.strftime("%b %d %Y %H:%M:%S GMT")}
