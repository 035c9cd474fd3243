"""Where Pacos keeps what it writes: every path of the product begins here.

PACOS_HOME            else the folder `pacos` among the platform's caches
├── config.json       the user's own defaults
├── hub/              repositories in the layout of Hugging Face's cache; without PACOS_HOME that cache itself
├── names/            a small file for each name that was given to a model
├── files/            model files that were imported, or downloaded from a plain address
├── blobs/            files from an Ollama registry, by their digest
├── locks/            of downloads and of the names
└── state/            the pid file and the log of a server in the background, its batches, and the conversations
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of everything that Pacos writes."""
    if given := os.environ.get("PACOS_HOME"):
        return _whole(given)
    from platformdirs import user_cache_path

    return user_cache_path("pacos", appauthor=False)


def habits_file() -> Path:
    """The user's own defaults."""
    return home() / "config.json"


def hub_folder() -> Path:
    """Where repositories lie: Hugging Face's cache, which other programs share, unless PACOS_HOME says otherwise."""
    return home() / "hub" if os.environ.get("PACOS_HOME") else shared_hub_folder()


def shared_hub_folder() -> Path:
    """Hugging Face's cache, by its own variables. Source: huggingface_hub's constants."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return _whole(given)
    if given := os.environ.get("HF_HOME"):
        return _whole(given) / "hub"
    caches = os.environ.get("XDG_CACHE_HOME")
    return (_whole(caches) if caches else Path.home() / ".cache") / "huggingface" / "hub"


def ollama_folder() -> Path:
    """Where Ollama keeps its models."""
    given = os.environ.get("OLLAMA_MODELS")
    return _whole(given) if given else Path.home() / ".ollama" / "models"


def lm_studio_folders() -> tuple[Path, ...]:
    """Where LM Studio keeps its models, in newer and in older versions."""
    return Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models"


def names_folder() -> Path:
    """A file for each name."""
    return home() / "names"


def files_folder() -> Path:
    """Model files of our own."""
    return home() / "files"


def blobs_folder() -> Path:
    """Files by their digest."""
    return home() / "blobs"


def locks_folder() -> Path:
    """What keeps two processes from doing the same work."""
    return home() / "locks"


def state_folder() -> Path:
    """What servers write."""
    return home() / "state"


def computed_folder() -> Path:
    """What was computed of the conversations in the terminal."""
    return state_folder() / "computed"


def sessions_file() -> Path:
    """The conversations of terminal and web page."""
    return state_folder() / "sessions.sqlite"


def _whole(text: str) -> Path:
    return Path(os.path.abspath(Path(text).expanduser()))
