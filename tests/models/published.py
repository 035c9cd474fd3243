"""Configs of published models, as their folders have them, and how others read them (see scripts/configs)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Config = dict[str, Any]

_HERE = Path(__file__).parent
DEFAULTS = _HERE / "class_defaults.json"
READ = _HERE / "published_read.json"
CONFIGS: dict[str, Config] = json.loads((_HERE / "published.json").read_text())


def class_of(config: Config) -> str:
    """The name of the model's class; the first Mambas have none."""
    names = config.get("architectures") or ["MambaLMHeadModel"]
    return str(names[0])
