"""The plan of each family is what it was: a change here means that the model computes something else.

After a wanted change, write the files anew:  PACOS_UPDATE_GOLDEN=1 python -m pytest tests/models/test_golden.py
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from models import jina, tiny

from pacos.errors import FormatError
from pacos.hub.convert import convert
from pacos.hub.drawing import drawing
from pacos.hub.opening import open_model
from pacos.models import HIDDEN, LOGITS, Hparams, architectures, build_plan

GOLDEN = Path(__file__).parent / "golden"
# Of a family whose cases differ in rotary positions or ties alone, one plan is enough.
PLANS = [
    *(case for case in tiny.CASES if case not in ("llama-tied", "llama-linear", "llama-yarn", "llama-base")),
    *("bert", "nomic-bert", "jina-bert-v2", "t5encoder", "gemma-embedding", "modern-bert", "eurobert", "neo-bert"),
    *("jina-bert-v3", "nomic-bert-moe-bias", "llama-embed"),
]
FILES = {"jina-bert-v2": jina.write_file}


@pytest.mark.parametrize("case", PLANS)
def test_plan_is_the_golden_one(case: str, tmp_path: Path) -> None:
    if case in FILES:
        FILES[case](tmp_path / "model.gguf")
    else:
        convert(tiny.write_folder(case, tmp_path / case), tmp_path / "model.gguf", "F32")
    archive = open_model(tmp_path / "model.gguf")
    hp = Hparams.from_metadata(archive.metadata, archive.tensors)
    text = build_plan(archive, hp, LOGITS if hp.causal else HIDDEN).text()
    if hp.start_token >= 0:
        text += build_plan(archive, hp, HIDDEN).text()  # the encoder's
    drawn = drawing(archive)
    layers = sorted({int(name.split("blk.")[1].split(".")[0]) for name in archive.tensors if "blk." in name})
    archive.close()
    path = GOLDEN / f"{case}.txt"
    if os.environ.get("PACOS_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
    check_drawing(drawn, layers, hp.loops)


@pytest.mark.parametrize(
    ("case", "part"), [("rwkv7", "time_mix_ln."), ("minimax-01", "attn_gate"), ("minimax-01", "attn_norm_2")]
)
def test_a_lost_part_of_every_layer_is_missed(case: str, part: str, tmp_path: Path) -> None:
    """Another model could do without it: this one would give other answers, and no error."""
    with closing(open_model(tiny.write_gguf(case, tmp_path))) as archive:
        hp = Hparams.from_metadata(archive.metadata, archive.tensors)
        there = {name: one for name, one in archive.tensors.items() if part not in name}
        assert len(there) < len(archive.tensors)
        archive.tensors = there
        with pytest.raises(FormatError, match=part.rstrip(".")):
            build_plan(archive, hp, LOGITS)


def check_drawing(drawn: dict[str, Any], layers: list[int], loops: int) -> None:
    """Every byte of the file is drawn once, and every layer that has some as often as a step goes through it."""
    in_parts = sum(part["bytes"] * max(1, len(part["layers"])) for part in drawn["parts"])
    assert in_parts + drawn["unused"]["bytes"] == drawn["bytes"]
    found = [number for part in drawn["parts"] for number in part["layers"]]
    if {part["stack"] for part in drawn["parts"]} >= {"enc", "dec"}:  # stacks of different heights
        assert sorted(set(found)) == list(range(max(found) + 1))
        return
    assert sorted(set(found)) == layers
    assert len({(part["stack"], number) for part in drawn["parts"] for number in part["layers"]}) * loops == len(found)


def test_every_family_has_a_golden_plan() -> None:
    plans = {path.stem: path.read_text() for path in GOLDEN.glob("*.txt")}
    assert set(plans) == set(PLANS)
    named = {text.removeprefix("plan ").partition(":")[0] for text in plans.values()}
    assert named == {entry.name for entry in architectures()}
