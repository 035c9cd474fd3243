"""Mistral: [TOOL_CALLS] and a list of calls; the templates of later models have [ARGS], see `mistral_args`."""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass

from pacos.text.call_syntax import JsonCalls

_ID_CHARS = string.ascii_letters + string.digits


@dataclass(frozen=True, kw_only=True)
class MistralCalls(JsonCalls):
    """Calls whose ids are nine letters and digits, as the templates want them."""

    def new_id(self) -> str:
        """Nine letters and digits."""
        return "".join(secrets.choice(_ID_CHARS) for _ in range(9))

    def fit_id(self, call_id: str, name: str, index: int) -> str:
        """The id, or nine digits made of it."""
        return call_id if re.fullmatch("[a-zA-Z0-9]{9}", call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]


FORMAT = MistralCalls(
    name="mistral",
    signs=(("[TOOL_CALLS]",),),
    order=40,
    openers=("[TOOL_CALLS]",),
    array=True,
    extra=(("id", {"type": "string", "pattern": "^[a-zA-Z0-9]{9}$"}),),
)
