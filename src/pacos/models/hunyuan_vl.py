"""Hunyuan that sees, the part for text: Hunyuan, dense.

Source: Hugging Face modeling_hunyuan_vl.py; tensor names as in GGUF arch "hunyuan_vl", whose files leave the stretched
rotary base to their readers. Of text, all positions that its rotary sections tell apart are the same.
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hf_config import Config, Metadata, decoder, rope_settings
from pacos.models.hparams import Hparams
from pacos.models.hunyuan_dense import HUNYUAN, hunyuan_dense
from pacos.models.registry import architecture

_KINDS = ("dynamic", "xdrope")  # the same, in newer and older folders


def _read(config: Config) -> Metadata:
    """The metadata; older folders call the sections otherwise."""
    settings, _ = rope_settings(config)
    found = decoder({**config, "rope_scaling": None, "rope_parameters": {**settings, "rope_type": "default"}})
    if settings["rope_type"] not in _KINDS or not settings.get("alpha"):
        return decoder(config)
    return found | {
        "rope.scaling.alpha": float(settings["alpha"]),
        "rope.scaling.type": "none",
        "rope.scaling.factor": settings.get("factor") or 1.0,
        "rope.scaling.original_context_length": config.get("max_position_embeddings"),
        "rope.dimension_sections": settings.get("mrope_section") or settings.get("xdrope_section"),
    }


HUNYUAN_VL = replace(
    HUNYUAN,
    classes=("HunYuanVLForConditionalGeneration",),
    metadata=_read,
    defaults={**HUNYUAN.defaults, "tie_word_embeddings": True},
)


@architecture("hunyuan_vl", hf=HUNYUAN_VL)
def hunyuan_vl(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    alpha = hp.keys.number("rope.scaling.alpha", 0, 1e9, 0.0)
    if alpha and hp.head_width > 2:
        stretched = replace(hp.rope, base=hp.rope.base * alpha ** (hp.head_width / (hp.head_width - 2)))
        hp = replace(hp, rope=stretched, rope_windowed=stretched)
    return hunyuan_dense(inputs, weights, hp)
