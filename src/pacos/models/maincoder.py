"""Maincoder: Llama with norms on heads of queries and keys behind the rotation, of rotary pairs.

Source: llama.cpp's reading of the published folder; tensor names as in GGUF arch "maincoder".
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.hf_config import decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.hunyuan_dense import hunyuan_dense
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, GATED, HEAD_NORMS, TWO_NORMS

MAINCODER = HuggingFace(
    classes=("MaincoderForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *ATTENTION, *HEAD_NORMS, *GATED),
    metadata=decoder,
    defaults={"rms_norm_eps": 1e-5},
)


@architecture("maincoder", hf=MAINCODER, rope="pairs")
def maincoder(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return hunyuan_dense(inputs, weights, hp)
