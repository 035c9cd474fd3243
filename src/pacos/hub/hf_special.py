"""Which tokens a Hugging Face folder gives a role, what it puts around texts, and its chat template, in GGUF's keys.

Source: llama.cpp's gguf-py (SpecialVocab) for where each is looked up and what wins; transformers' file formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError
from pacos.hub.hf_files import read_json_if_there
from pacos.text import special_names

_KEYS = {
    **{"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding"},  # spelled so in files
    **{"mask": "mask", "eot": "eot", "eom": "eom"},
}
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_TURN_ENDS = ("eot", "end_of_turn", "im_end")


def special_metadata(
    folder: Path, config: Mapping[str, Any], tokens: list[str], spec: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Ids, flags and template under `tokenizer.`; `spec` is tokenizer.json, where there is one."""
    settings = read_json_if_there(folder / "tokenizer_config.json")
    named = {**read_json_if_there(folder / "special_tokens_map.json"), **settings}
    texts = {role: _text(named.get(f"{role}_token")) for role in _ROLES}
    flags: dict[str, bool] = {}
    texts["bos"] = texts["bos"] or texts["cls"]
    texts["eos"] = texts["eos"] or texts["sep"]
    if spec is not None:
        processor = spec.get("post_processor") or {}
        for step in processor.get("processors", [processor]):
            _read_processor(step, texts, flags)
    for role in _ROLES:
        given = settings.get(f"add_{role}_token")
        if isinstance(given, bool):
            flags.setdefault(role, given)
    special = _ids(folder, config, tokens, texts)
    if spec is not None:  # the file says all that is added
        flags = {"bos": False, "eos": False, **flags}
    template = _chat_template(folder, settings)
    return {
        **{
            f"tokenizer.ggml.add_{role}_token": flags[role] and role in special
            for role in ("bos", "eos", "sep")
            if role in flags
        },
        **{f"tokenizer.ggml.{_KEYS[role]}_token_id": number for role, number in special.items() if role in _KEYS},
        **({"tokenizer.chat_template": template} if template else {}),
    }


def _text(value: object) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _read_processor(step: Mapping[str, Any], texts: dict[str, str | None], flags: dict[str, bool]) -> None:
    """What one step of the post-processor adds; changes `texts` and `flags`."""
    kind = step.get("type")
    if kind == "ByteLevel":
        flags.setdefault("bos", False)
        flags.setdefault("eos", False)
    elif kind in ("RobertaProcessing", "BertProcessing"):
        flags.update(dict.fromkeys(("bos", "eos", "sep") if kind[0] == "R" else ("bos", "eos"), True))
        texts["cls"] = texts["cls"] or step.get("cls", [texts["bos"]])[0]
        texts["sep"] = texts["sep"] or step.get("sep", [texts["eos"]])[0]
    elif kind == "TemplateProcessing":
        _read_template(step, texts, flags)


def _read_template(step: Mapping[str, Any], texts: dict[str, str | None], flags: dict[str, bool]) -> None:
    """The marks around one text, and those between the two of a pair."""
    single, pair = (_marks(step.get(name) or []) for name in ("single", "pair"))
    first = single[0] if len(single) > 1 else None
    last = single[-1] if len(single) > 1 else None
    if first is not None:
        if first not in (texts["bos"], texts["cls"]):
            texts["bos"], texts["cls"] = texts["bos"] or first, texts["cls"] or first
        flags["bos"] = first in (texts["bos"], texts["cls"])
    if last is not None:
        if last != texts["eos"]:
            texts["eot"], texts["eos"] = texts["eos"], last
        flags["eos"] = True
    if first is not None and pair[:1] == [first]:
        pair = pair[1:]
    if last is not None and pair[-1:] == [last]:
        pair = pair[:-1]
    if len(pair) > 2 and pair[0] is None and pair[-1] is None:
        ends = (texts["sep"], texts["eos"])
        between = pair[1:-1]
        one = between[0] in ends and last is None
        flags["sep"] = one or (len(between) == 2 and between[1] in ends)
        if flags["sep"]:
            texts["sep"] = texts["sep"] or texts["eos"]


def _marks(steps: list[Any]) -> list[str | None]:
    """The special tokens of a template in order; None stands for a text."""
    return [(one.get("SpecialToken") or {}).get("id") for one in steps]


def _ids(folder: Path, config: Mapping[str, Any], tokens: list[str], texts: Mapping[str, str | None]) -> dict[str, int]:
    """Ids of the roles: by name, or numbered in config.json and generation_config.json."""
    generation = read_json_if_there(folder / "generation_config.json")
    by_text = {text: number for number, text in reversed(list(enumerate(tokens)))}
    found: dict[str, int] = {}
    for role, text in texts.items():
        if text in by_text:
            found[role] = by_text[text]
            continue
        numbers = _numbers(config.get(f"{role}_token_id")) or _numbers(generation.get(f"{role}_token_id"))
        if numbers and 0 <= numbers[0] < len(tokens):
            found[role] = numbers[0]
    ends = [*_numbers(generation.get("eos_token_id")), *_numbers(config.get("eos_token_id"))]
    others = [number for number in ends if number != found.get("eos") and 0 <= number < len(tokens)]
    # What readers find by its name needs no key.
    others = [number for number in others if tokens[number] not in special_names.ENDS]
    if others and "eot" not in found:
        found["eot"] = _turn_end(tokens, others)
    return found


def _turn_end(tokens: list[str], numbers: list[int]) -> int:
    """Of several more end tokens, the one that ends a turn by its name."""
    return next((n for n in numbers if any(word in tokens[n] for word in _TURN_ENDS)), numbers[0])


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    template = settings.get("chat_template", read_json_if_there(folder / "chat_template.json").get("chat_template"))
    if isinstance(template, list):  # named templates; the default one counts
        by_name = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = by_name.get("default")
    return template if isinstance(template, str) else None
