"""What the name of a model gives its answers where nobody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, options_of, places

if TYPE_CHECKING:
    from pacos.hub.store import Preset
    from pacos.models.adapters import Adapter
    from pacos.types import Archive

_OF_ANSWERS = {one.name for group in (SamplingOptions, GenerateOptions) for one in options_of(group)}
_OF_OPENING = {one.name for one in options_of(LoadOptions)}


def opening_options(preset: Preset) -> dict[str, Any]:
    """Those of a preset's options that say how a model is opened; adapters of the store lie below its home."""
    found = {name: value for name, value in preset.options.items() if name in _OF_OPENING}
    if found.get("lora"):
        found["lora"] = tuple(str(places.home() / path) for path in found["lora"])
    return found


def opened_adapters(archive: Archive, options: LoadOptions) -> tuple[Adapter, ...]:
    """The adapters that options name, in the order of their numbers. Errors: as `hub.adapters.open_adapters`."""
    if not options.lora and not options.lora_scaled:
        return ()
    from pacos.hub.adapters import open_adapters

    found = open_adapters(options.lora, options.lora_scaled, archive)
    return tuple(replace(one, scale=0.0) for one in found) if options.lora_init_without_apply else found


class ChatStart:
    """Default options of answers, and what stands before every conversation; nothing for a model without a name.

    `template` is the name or the text of a chat template; "" where one was given, or the preset has none.
    """

    def __init__(self, preset: Preset | None, *, own_template: bool) -> None:
        self.options = {} if preset is None else {k: v for k, v in preset.options.items() if k in _OF_ANSWERS}
        self.template = "" if preset is None or own_template else preset.template
        self._system = "" if preset is None else preset.system
        self._messages: Sequence[Mapping[str, str]] = () if preset is None else preset.messages

    def filled(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of an answer, with the defaults where it has none."""
        return {**options, **{name: value for name, value in self.options.items() if options.get(name) is None}}

    def begun(self, messages: Sequence[Any]) -> Sequence[Any]:
        """A conversation behind what begins every one; a system message of its own wins."""
        if not (self._system or self._messages) or not isinstance(messages, Sequence):
            return messages
        first = messages[0] if messages else None
        role = first.get("role") if isinstance(first, Mapping) else getattr(first, "role", None)
        if role in ("system", "developer"):
            return [first, *self._messages, *messages[1:]]
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, *self._messages, *messages]
