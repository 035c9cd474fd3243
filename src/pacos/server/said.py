"""What is said of models before anybody asks them, by several voices; each wins over those above it.

1. the user's own settings for every model (`pacos config`)
2. what the model's name gives (a Modelfile's PARAMETER and TEMPLATE)
3. the user's own settings for this model
4. the section [*] of the presets' file
5. the model's section there
6. variables and flags of the command line
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import UsageError
from pacos.hub.store import StoredModel
from pacos.llm.preset import opening_options
from pacos.server.preset_file import EVERYWHERE, Section
from pacos.settings import GenerateOptions, LoadOptions, SamplingOptions, options_of, read
from pacos.settings.constraint import ConstraintOptions, ReasoningOptions
from pacos.settings.habits import Habits

ANSWERING = (SamplingOptions, GenerateOptions, ConstraintOptions, ReasoningOptions)
_OPENING_NAMES = {one.name for one in options_of(LoadOptions)}
_ANSWERING_NAMES = {one.name for group in ANSWERING for one in options_of(group)}
_OF_TALK = {"default_model", "system_prompt", "quiet", "template"}  # keys of settings; the last has our name below
# Of these the one that is said last takes the place of the others.
_SAME = ({"rope_scale", "rope_freq_scale"}, {"grammar", "json_schema", "regex", "lark", "choice"})


@dataclass(frozen=True, slots=True)
class Said:
    """All of it: `given` on the command line and by variables, under our names.

    Besides options those are chat_template, template_options, and keep_alive_seconds where that was said.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    habits: Habits = field(default_factory=Habits)
    sections: Mapping[str, Section] = field(default_factory=dict)

    def of(self, names: Sequence[str], found: StoredModel) -> dict[str, Any]:
        """All values for the model of these names, the strongest voice's; none is said where nobody said it."""
        own: dict[str, Any] = {}
        for name in names:
            own = {**self.habits.models.get(name, {}), **own}
        values: dict[str, Any] = {}
        preset = found.preset
        named: dict[str, Any] = {**preset.options, **opening_options(preset)}
        if preset.template:
            named["template"] = None  # whoever opens the model by its name takes that one
        sections = [self.sections[name].values for name in (EVERYWHERE, *names[:1]) if name in self.sections]
        for voice in (self.habits.values, named, own, *sections, self.given):
            values = over(values, _in_our_names(voice))
        return values

    def ahead(self, name: str, *, usually: bool) -> bool:
        """Whether a model is opened when the server starts, where that is `usually` so or not."""
        said = [self.sections[one].ahead for one in (name, EVERYWHERE) if one in self.sections]
        return next((one for one in said if one is not None), usually)


def _in_our_names(voice: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in voice.items() if name not in _OF_TALK}
    return {**found, "chat_template": voice["template"] or None} if "template" in voice else found


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others over them, which push out what says the same in another way."""
    pushed = {name for same in _SAME if same & above.keys() for name in same}
    return {**{name: value for name, value in below.items() if name not in pushed}, **above}


def opening_of(values: Mapping[str, Any]) -> LoadOptions:
    """How a model is opened, of all that is said of it. Errors: UsageError."""
    (found,) = read((LoadOptions,), {name: value for name, value in values.items() if name in _OPENING_NAMES})
    return found  # type: ignore[no-any-return]


def defaults_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What its answers get where a request says nothing. Errors: UsageError."""
    found = {name: value for name, value in values.items() if name in _ANSWERING_NAMES}
    read(ANSWERING, found)
    template = values.get("template_options")
    return {**found, "template_options": template} if template else found


def check_sections(sections: Mapping[str, Section]) -> None:
    """Options of each section fit each other. Errors: UsageError naming the section."""
    for name, section in sections.items():
        try:
            opening_of(section.values)
            defaults_of(section.values)
        except UsageError as error:
            raise UsageError(f"{section.place}: [{name}]: {error.message}", hint=error.hint) from None
