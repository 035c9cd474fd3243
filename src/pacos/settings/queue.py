"""Options of the queue: whom a sequence belongs to, and how soon it is due. Programs set them; they have no flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pacos.errors import UsageError
from pacos.settings.option import check, option, shown

SALT_BYTES_MAX = 1024


def _salt(value: Any) -> Any:
    if isinstance(value, str) and ("\0" in value or len(value.encode("utf-8", "replace")) > SALT_BYTES_MAX):
        raise UsageError(
            f"cache_salt is {shown(value)}", hint=f"use a text of up to {SALT_BYTES_MAX} bytes, without NUL"
        )
    return value


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Whom a sequence belongs to, and how soon it is due."""

    priority: int = option(0, minimum=-100, maximum=100, help="Higher ones are computed first; equal ones share.")
    owner: str = option("", help="Owners of equal priority get equal shares, whatever the number of their sequences.")
    cache_salt: str = option("", normal=_salt, help="Prompts of different salts never share what was computed.")
    deadline_seconds: float = option(
        0.0, minimum=0, maximum=1e9, help="The answer ends after so long, wherever it is; 0 is no deadline."
    )

    def __post_init__(self) -> None:
        check(self)
