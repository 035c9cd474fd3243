"""Folders whose JSON holds anything anywhere: they open or are refused in one line, never with a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models import tiny

from pacos.errors import FormatError, PacosError
from pacos.hub.opening import open_model
from pacos.models import Hparams, build_plan

VALUES: list[Any] = [None, True, -1, 0, 2**40, 1e308, float("inf"), "x", "", [], {}, [1], {"a": 1}, [None], ["a", 3]]
PLACES = 90  # tried in each file, of about 200
Place = tuple[str | int, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Every place in a JSON value, of long parts the first."""
    yield here
    if isinstance(value, dict):
        for key in list(value)[:12]:
            yield from places(value[key], (*here, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 4)):
            yield from places(value[i], (*here, i))


def changed(value: Any, place: Place, new: Any) -> Any:
    result = copy.deepcopy(value)
    at = result
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = new
    return result


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("case", ["llama-factors", "llama-yarn", "gemma3", "gpt2"])
def test_anything_anywhere(name: str, case: str, tmp_path: Path) -> None:
    folder = tiny.write_folder(case, tmp_path / case)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    tokenizer["model"]["merges"] = ["a b"]
    sound = {
        "config.json": json.loads((folder / "config.json").read_text()),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "bos_token": {"content": "<s>"},
            "chat_template": [{"name": "default", "template": "x"}],
        },
        "generation_config.json": {"eos_token_id": [1, 2]},
    }
    for file, content in sound.items():
        (folder / file).write_text(json.dumps(content))
    open_model(folder).close()
    chance = random.Random(f"{case}/{name}")
    tried = [place for place in places(sound[name]) if place]
    for place in chance.sample(tried, min(len(tried), PLACES)):
        (folder / name).write_text(json.dumps(changed(sound[name], place, chance.choice(VALUES))))
        message = refusal(folder)
        assert "\n" not in message
        assert len(message) < 1000


def refusal(folder: Path) -> str:
    """Why the folder cannot run; empty when it can."""
    try:
        archive = open_model(folder)
        build_plan(archive, Hparams.from_metadata(archive.metadata, archive.tensors))
        archive.close()
    except PacosError as error:
        return str(error)
    return ""


def test_a_vocabulary_of_a_billion_is_refused_before_it_is_made(tmp_path: Path) -> None:
    folder = tiny.write_folder("llama", tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 10**9}))
    with pytest.raises(FormatError, match="256 tokens are named"):
        open_model(folder)
