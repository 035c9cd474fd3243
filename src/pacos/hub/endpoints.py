"""The machines that models come from, and the right to ask them; nowhere else are they named."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pacos.errors import UsageError
from pacos.settings import places

HUGGING_FACE = "https://huggingface.co"
OLLAMA = "https://registry.ollama.ai"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
OFFLINE = ("PACOS_OFFLINE", "HF_HUB_OFFLINE")
_TRUE = {"1", "true", "yes", "on"}


def hub() -> str:
    """The hub's address: HF_ENDPOINT, else Hugging Face's own. Errors: UsageError for what is no address."""
    return _checked("HF_ENDPOINT", os.environ.get("HF_ENDPOINT") or HUGGING_FACE)


def ollama_registry() -> str:
    """The registry's address: PACOS_OLLAMA_REGISTRY, else Ollama's own. Errors: UsageError for what is no address."""
    return _checked("PACOS_OLLAMA_REGISTRY", os.environ.get("PACOS_OLLAMA_REGISTRY") or OLLAMA)


def hub_token() -> str:
    """The user's token for the hub: from HF_TOKEN, else from the file that `hf auth login` writes; "" for none."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            return token
    given = os.environ.get("HF_TOKEN_PATH")
    try:
        return Path(given or places.shared_hub_folder().parent / "token").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def offline() -> str:
    """What says that no machine is to be asked: the name of a variable; "" where nothing does."""
    return next((name for name in OFFLINE if os.environ.get(name, "").lower() in _TRUE), "")


def check_online() -> None:
    """Errors: UsageError when the user wants no machine to be asked."""
    if name := offline():
        raise UsageError(f"{name} is set, so nothing is downloaded", hint="unset it")


def origin(url: str) -> tuple[str, str, int | None]:
    """What credentials are bound to: scheme, host and port."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def is_local(host: str) -> bool:
    """Whether a host is this machine or on a private network, by its name or number alone."""
    import ipaddress

    if host in _LOOPBACK or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not address.is_global


def _checked(variable: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(f"{variable} is {url[:100]!a}", hint=f"use an address such as {HUGGING_FACE}")
    if parts.scheme == "http" and not is_local(parts.hostname):
        raise UsageError(f"{variable} is {url[:100]!a}, which is not encrypted", hint="use https")
    return url.rstrip("/")
