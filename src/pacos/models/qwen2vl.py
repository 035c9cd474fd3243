"""Qwen 2 and 2.5 that see, the part for text: Qwen 2.

Source: Hugging Face modeling_qwen2_vl.py and modeling_qwen2_5_vl.py; tensor names as in GGUF arch "qwen2vl". Of text,
all three positions that its rotary sections tell apart are the same.
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hf_config import Config, Metadata, position_sections
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.qwen2 import QWEN2, qwen2, read_config
from pacos.models.registry import architecture

_SECTIONS = (16, 24, 24)  # of every published one


def _metadata(config: Config) -> Metadata:
    return read_config(config) | position_sections(config, _SECTIONS)


QWEN2_VL = HuggingFace(
    classes=("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
    names=QWEN2.names,
    metadata=_metadata,
    defaults={
        **{"rms_norm_eps": 1e-5, "max_window_layers": 80, "num_key_value_heads": 8, "rope_theta": 1000000.0},
        "use_sliding_window": False,
    },
)


@architecture("qwen2vl", hf=QWEN2_VL)
def qwen2vl(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return qwen2(inputs, weights, hp)
