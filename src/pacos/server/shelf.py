"""The models of the store, as a server offers them: by name alone, never by a path, and as the store is now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pacos.errors import ModelError
from pacos.hub.names import find_name
from pacos.hub.store import Store, StoredModel
from pacos.server.model_file import ModelSpec, with_preset
from pacos.settings import LoadOptions


class Shelf:
    """What of the store may be asked for; `options` and `defaults` are those of the command line."""

    def __init__(self, options: LoadOptions | None = None, defaults: Mapping[str, Any] | None = None) -> None:
        self._options = options or LoadOptions()
        self._defaults = dict(defaults or {})

    def spec(self, name: str) -> ModelSpec | None:
        """The model of that name; None when there is none. Errors: ModelNotFound when its files are gone."""
        found = find_name(name)
        return None if found is None else self._spec(found)

    def specs(self) -> list[ModelSpec]:
        """Every model of the store whose files are there."""
        try:
            return [self._spec(found) for found in Store().models()]
        except ModelError:  # removed in this moment
            return []

    def _spec(self, found: StoredModel) -> ModelSpec:
        options = with_preset(self._options, found)
        return ModelSpec(found.name, found.name, options=options, defaults=self._defaults, ahead=False)
