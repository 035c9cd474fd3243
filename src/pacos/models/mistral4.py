"""Mistral Small 4: DeepSeek's latent attention whose queries look more sharply from afar, and experts in each layer.

Source: Hugging Face modeling_mistral4.py; tensor names as in GGUF arch "mistral4".
"""

from __future__ import annotations

from dataclasses import replace

from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.deepseek2 import DEEPSEEK_V2, deepseek2, read_config
from pacos.models.hf_config import Config, Metadata, rope_settings
from pacos.models.hparams import Hparams
from pacos.models.registry import architecture


def _read(config: Config) -> Metadata:
    settings, _ = rope_settings(config)
    sharper = settings.get("llama_4_scaling_beta")
    length = settings.get("original_max_position_embeddings") if sharper else None
    return {
        **read_config(config),
        "rope.dimension_count": config["qk_rope_head_dim"],
        **{"attention.temperature_scale": sharper, "attention.temperature_length": length},
    }


MISTRAL4 = replace(
    DEEPSEEK_V2,
    classes=("Mistral4ForCausalLM", "Mistral3ForConditionalGeneration"),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-6, "norm_topk_prob": True, "kv_lora_rank": 256, "q_lora_rank": 1024},
        **{"qk_nope_head_dim": 64, "qk_rope_head_dim": 64, "v_head_dim": 128, "first_k_dense_replace": 0},
        **{"n_routed_experts": 128, "n_shared_experts": 1, "moe_intermediate_size": 2048, "num_experts_per_tok": 4},
        **{"routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1, "intermediate_size": 12288},
        "rope_parameters": {
            **{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 128.0, "original_max_position_embeddings": 8192},
            **{"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
        },
    },
    fits=lambda config: config.get("model_type") == "mistral4",
)


@architecture("mistral4", hf=MISTRAL4, rope="pairs")
def mistral4(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return deepseek2(inputs, weights, hp)
