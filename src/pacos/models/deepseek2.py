"""DeepSeek V2 and V3, and Kimi K2: latent attention, many small experts, some of them for all tokens.

Source: Hugging Face modeling_deepseek_v2.py and modeling_deepseek_v3.py; tensor names as in GGUF arch "deepseek2".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits
from pacos.models.hf_config import Config, decoder, rope_settings
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.latent import Latent, latent_attention
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, TRANSPOSE, TWO_NORMS, Array, Change, Sizes, TensorName, in_layers


def _widened(index: int) -> Change:
    """What makes keys (0) or values (1) of each head's latent rows."""

    def rows(config: Config) -> tuple[int, int, int]:
        return int(config["num_attention_heads"]), int(config["qk_nope_head_dim"]), int(config["v_head_dim"])

    def shape(shape: Sizes, config: Config) -> Sizes:
        heads, *widths = rows(config)
        return (heads, widths[index], shape[1])

    def values(x: Array, config: Config) -> Array:
        heads, still, _ = rows(config)
        by_head = x.reshape(heads, -1, x.shape[1])
        return by_head[:, still:] if index else by_head[:, :still]

    return Change(("keys", "values")[index], shape, values)


LATENT_NAMES = in_layers(
    attn_q="self_attn.q_proj",
    attn_q_a="self_attn.q_a_proj",
    attn_q_a_norm="self_attn.q_a_layernorm",
    attn_q_b="self_attn.q_b_proj",
    attn_kv_a_mqa="self_attn.kv_a_proj_with_mqa",
    attn_kv_a_norm="self_attn.kv_a_layernorm",
    attn_output="self_attn.o_proj",
)
WIDENING = (
    TensorName("blk.{i}.attn_k_b.weight", "layers.{i}.self_attn.kv_b_proj.weight", (_widened(0), TRANSPOSE)),
    TensorName("blk.{i}.attn_v_b.weight", "layers.{i}.self_attn.kv_b_proj.weight", (_widened(1),)),
)


def read_config(config: Config) -> dict[str, Any]:
    """The metadata, in which all heads share the narrow rows that are cached."""
    if config.get("rope_interleave") is False:
        raise UnsupportedModel("config.json: rope_interleave is False, supported is True alone")
    turning, latent = config["qk_rope_head_dim"], config["kv_lora_rank"]
    found = decoder({**config, "head_dim": turning}) | experts(config)
    settings, _ = rope_settings(config)
    mscale = settings.get("mscale_all_dim")
    if settings["rope_type"] == "yarn" and mscale:
        if settings.get("mscale", mscale) != mscale:
            raise UnsupportedModel("config.json: mscale and mscale_all_dim differ, supported are equal ones")
        found |= {"rope.scaling.yarn_attn_factor": None, "rope.scaling.yarn_log_multiplier": 0.1 * mscale}
    return found | {
        "attention.head_count_kv": 1,
        "attention.key_length": latent + turning,
        "attention.value_length": latent,
        "attention.key_length_mla": config["qk_nope_head_dim"] + turning,
        "attention.value_length_mla": config["v_head_dim"],
        "attention.kv_lora_rank": latent,
        "attention.q_lora_rank": config.get("q_lora_rank"),
    }


DEEPSEEK_V2 = HuggingFace(
    classes=("DeepseekV2ForCausalLM",),
    names=(*ENDS, *TWO_NORMS, *LATENT_NAMES, *WIDENING, *GATED, *expert_names(), *shared_names("mlp.shared_experts")),
    metadata=read_config,
    defaults={
        **{"rms_norm_eps": 1e-6, "norm_topk_prob": False, "topk_method": "greedy", "kv_lora_rank": 512},
        **{"q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128},
        **{"n_routed_experts": 64, "n_shared_experts": 2, "moe_intermediate_size": 1407, "first_k_dense_replace": 0},
        "routed_scaling_factor": 1.0,
        "intermediate_size": 11008,
    },
    reads=READS,
)
DEEPSEEK_V3 = replace(
    DEEPSEEK_V2,
    classes=("DeepseekV3ForCausalLM", "KimiK2ForCausalLM"),
    defaults={
        **{"rms_norm_eps": 1e-6, "norm_topk_prob": True, "scoring_func": "sigmoid", "routed_scaling_factor": 2.5},
        **{"kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64},
        **{"v_head_dim": 128, "n_routed_experts": 256, "n_shared_experts": 1, "moe_intermediate_size": 2048},
        **{"first_k_dense_replace": 3, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4},
        "intermediate_size": 18432,
    },
)


@architecture("deepseek2", hf=(DEEPSEEK_V2, DEEPSEEK_V3), rope="pairs")
def deepseek2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    return latent_decoder(inputs, weights, hp, hp.norm_eps)


def latent_decoder(inputs: Inputs, weights: WeightTable, hp: Hparams, latent_eps: float) -> Tensor:
    """Logits [R, V] for the rows wanted; the norms of narrow rows may have an epsilon of their own."""
    form = Latent.read(hp)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + latent_attention(h, w, inputs, i, latent_eps, form)
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)
