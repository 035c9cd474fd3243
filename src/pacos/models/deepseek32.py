"""DeepSeek V3.2 and GLM 5: DeepSeek V3 with an indexer of keys, up to as many tokens as it picks (2048).

Of so many, which is all the context that such a model gets here, the indexer picks every key: attention is that of V3,
and the indexer's own weights are left alone.
Source: Hugging Face modeling_deepseek_v32.py and modeling_glm_moe_dsa.py; tensor names as in GGUF arch "deepseek32" and
"glm-dsa".
Shapes: R rows wanted, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.deepseek2 import DEEPSEEK_V3, latent_decoder, read_config
from pacos.models.hf_config import Config, Metadata
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture
from pacos.models.tensor_names import Names, TensorName, in_layers

_LATENT_EPS = 1e-6  # of the norms of narrow rows, whatever the config says of the others
_AT = "layers.{i}.self_attn.indexer"
INDEXER: Names = (
    *in_layers(_AT, **{"indexer.k_norm": "k_norm", "indexer.proj": "weights_proj"}),
    TensorName("blk.{i}.indexer.attn_k.weight", f"{_AT}.wk.weight"),
    TensorName("blk.{i}.indexer.attn_q_b.weight", f"{_AT}.wq_b.weight"),
)


def _read(config: Config) -> Metadata:
    return read_config(config) | {
        "attention.indexer.head_count": config["index_n_heads"],
        "attention.indexer.key_length": config["index_head_dim"],
        "attention.indexer.top_k": config["index_topk"],
    }


def _read_glm(config: Config) -> Metadata:
    """The metadata; layers whose indexer is another's are named where there are some."""
    full = [kind == "full" for kind in config.get("indexer_types") or ()]
    return _read(config) | ({} if all(full) else {"attention.indexer.types": full})


_INDEXES = {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}
DEEPSEEK_V32 = replace(
    DEEPSEEK_V3,
    classes=("DeepseekV32ForCausalLM",),
    names=(*DEEPSEEK_V3.names, *INDEXER),
    metadata=_read,
    defaults={**DEEPSEEK_V3.defaults, **_INDEXES},
)
GLM_DSA = replace(
    DEEPSEEK_V32,
    classes=("GlmMoeDsaForCausalLM",),
    metadata=_read_glm,
    defaults={
        **{**DEEPSEEK_V3.defaults, **_INDEXES, "index_n_heads": 32, "q_lora_rank": 2048, "v_head_dim": 256},
        **{"qk_nope_head_dim": 192, "n_group": 1, "topk_group": 1, "rms_norm_eps": 1e-5, "intermediate_size": 12288},
    },
)


@architecture("deepseek32", hf=DEEPSEEK_V32, rope="pairs")
@architecture("glm-dsa", hf=GLM_DSA, rope="pairs", defaults={"expert_gating_func": 2})
def deepseek32(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return latent_decoder(inputs, weights, hp, _LATENT_EPS)
