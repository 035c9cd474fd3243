"""Plans from archives: what is missing, misshapen or of a type that cannot stand there is named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from unit.test_hparams import metadata

from pacos.errors import FormatError
from pacos.models import Hparams, build_plan, page_layout
from pacos.types import TensorEntry


@dataclass
class Names:
    """An archive without data: tracing looks at names, shapes and types alone."""

    metadata: dict[str, Any] = field(default_factory=metadata)
    tensors: dict[str, TensorEntry] = field(default_factory=dict)
    path: Path = Path("model.gguf")


def entry(name: str, *shape: int, kind: str = "F32") -> TensorEntry:
    return TensorEntry(name, shape, kind, 0, 0, 0)


def model() -> Names:
    names = [entry("token_embd.weight", 100, 64), entry("output_norm.weight", 64), entry("output.weight", 100, 64)]
    for i in range(4):
        names += [entry(f"blk.{i}.{norm}.weight", 64) for norm in ("attn_norm", "ffn_norm")]
        names += [entry(f"blk.{i}.{part}.weight", 64, 64) for part in ("attn_q", "attn_output")]
        names += [entry(f"blk.{i}.{part}.weight", 32, 64) for part in ("attn_k", "attn_v")]
        names += [entry(f"blk.{i}.{part}.weight", 128, 64) for part in ("ffn_gate", "ffn_up")]
        names += [entry(f"blk.{i}.ffn_down.weight", 64, 128)]
    return Names(tensors={one.name: one for one in names})


def plan_of(archive: Any) -> Any:
    return build_plan(archive, Hparams.from_metadata(archive.metadata, archive.tensors))


def test_a_sound_archive_gives_a_plan_that_validates() -> None:
    plan = plan_of(model())
    plan.validate()
    assert set(plan.weight_names()) == set(model().tensors)


def test_the_output_may_be_tied() -> None:
    archive = model()
    del archive.tensors["output.weight"]
    assert plan_of(archive).values[plan_of(archive).result].shape == ("R", 100)


def test_tensors_that_nobody_uses_are_left_alone() -> None:
    archive = model()
    archive.tensors |= {f"extra.{i}": entry(f"extra.{i}", 3) for i in range(1000)}
    assert "extra.0" not in plan_of(archive).weight_names()


@pytest.mark.parametrize("name", sorted(set(model().tensors) - {"output.weight", "token_embd.weight"}))
def test_every_tensor_is_missed(name: str) -> None:
    archive = model()
    del archive.tensors[name]
    with pytest.raises(FormatError, match=f"'{name}' is missing"):
        plan_of(archive)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("blk.1.attn_k.weight", (64, 32)),
        ("blk.1.attn_k.weight", (64, 64)),
        ("blk.2.attn_v.weight", (16, 64)),
        ("blk.0.attn_q.weight", (128, 64)),
        ("blk.0.attn_q.weight", (60, 64)),
        ("blk.3.ffn_down.weight", (128, 64)),
        ("blk.3.ffn_up.weight", (0, 64)),
        ("blk.3.ffn_up.weight", (96, 64)),
        ("blk.3.ffn_norm.weight", (32,)),
        ("blk.0.attn_norm.weight", (64, 64)),
        ("output.weight", (99, 64)),
        ("output.weight", (100, 64, 2)),
        ("rope_freqs.weight", (7,)),
    ],
)
def test_wrong_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    archive = model()
    archive.tensors[name] = entry(name, *shape)
    with pytest.raises(FormatError):
        plan_of(archive)


def test_a_quantized_norm_is_refused_by_name() -> None:
    archive = model()
    name = "blk.0.attn_norm.weight"
    archive.tensors[name] = replace(archive.tensors[name], type="Q8_0")
    with pytest.raises(FormatError, match=f"'{name}' is of type Q8_0, needed: F32"):
        plan_of(archive)


def test_pages_follow_the_key_heads_of_each_layer() -> None:
    archive = Names(metadata(attention__head_count_kv=[1, 2, 4, 2], attention__value_length=8), model().tensors)
    layout = page_layout(Hparams.from_metadata(archive.metadata, archive.tensors), "F32", "F16")
    assert layout.key_width == (16, 32, 64, 32)
    assert layout.value_width == (8, 16, 32, 16)
    assert (layout.type_k, layout.type_v, layout.page_tokens) == ("F32", "F16", 64)
