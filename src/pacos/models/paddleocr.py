"""PaddleOCR-VL, the part for text: ERNIE 4.5 with rotary halves.

Source: Hugging Face modeling_paddleocr_vl.py; tensor names as in GGUF arch "paddleocr". Of text, all three positions
that its rotary sections tell apart are the same.
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hf_config import decoder, position_sections
from pacos.models.hparams import Hparams
from pacos.models.llama_like import ERNIE, llama_like
from pacos.models.registry import architecture

_SECTIONS = (16, 24, 24)  # of every published one
PADDLEOCR = replace(
    ERNIE,
    classes=("PaddleOCRVLForConditionalGeneration",),
    metadata=lambda config: {**decoder(config), **position_sections(config, _SECTIONS)},
    ties_by_weights=True,  # the part for text may say otherwise than the whole, which is in the right
)


@architecture("paddleocr", hf=PADDLEOCR)
def paddleocr(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return llama_like(inputs, weights, hp)
