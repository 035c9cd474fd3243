"""The models of the store, as a server offers them: by name alone, never by a path, and as the store is now."""

from __future__ import annotations

from pacos.errors import ModelError
from pacos.hub.names import find_name
from pacos.hub.store import Store, StoredModel
from pacos.server.model_file import ModelSpec
from pacos.server.said import Said, defaults_of, opening_of


class Shelf:
    """What of the store may be asked for, with what is `said` of models."""

    def __init__(self, said: Said | None = None) -> None:
        self._said = said or Said()

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
        values = self._said.of((found.name,), found)
        return ModelSpec(
            found.name,
            found.name,
            options=opening_of(values),
            chat_template=values.get("chat_template"),
            keep_alive_seconds=values.get("keep_alive_seconds"),
            defaults=defaults_of(values),
            ahead=False,
        )
