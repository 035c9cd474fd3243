"""Kimi Linear: three layers of the delta rule, with a decay for each place of a key, to one of latent attention.

Source: Hugging Face modeling_kimi_linear.py, arXiv:2510.26692; tensor names as in GGUF arch "kimi-linear". Nothing
turns with the position: the delta rule tells places apart.
Shapes: T tokens in the step, R rows wanted, D model width, H heads, N width of a head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pacos.errors import FormatError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project
from pacos.models.deepseek2 import LATENT_NAMES, WIDENING
from pacos.models.hf_config import Config, first, sizes
from pacos.models.hf_experts import READS, expert_names, experts, shared_names
from pacos.models.hparams import HEAD_WIDTH_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.latent import Latent, latent_attention
from pacos.models.mixers import MINUS_EXP
from pacos.models.mixture import feed_forward
from pacos.models.registry import architecture
from pacos.models.tensor_names import ENDS, GATED, TWO_NORMS, TensorName, in_layers, reshaped

_L2_EPS = 1e-6
# In both spellings: of published folders, and of transformers.
_WORDS = {
    "num_experts_per_tok": ("num_experts_per_token", "num_experts_per_tok"),
    "n_shared_experts": ("num_shared_experts", "n_shared_experts"),
    "norm_topk_prob": ("moe_renormalize", "norm_topk_prob"),
    "n_group": ("num_expert_group", "n_group"),
    "max_position_embeddings": ("model_max_length", "max_position_embeddings"),
}


def _attending(config: Config) -> list[bool]:
    layers, kinds = config["num_hidden_layers"], config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        return [kind == "full_attention" for kind in kinds]
    listed = (config.get("linear_attn_config") or {}).get("full_attn_layers")
    if not isinstance(listed, list):
        raise FormatError("config.json: linear_attn_config.full_attn_layers is missing, needed: a list of layers")
    return [i + 1 in listed for i in range(layers)]


def _read(config: Config) -> dict[str, Any]:
    config = {**config, **{word: first(config, *words) for word, words in _WORDS.items()}, "scoring_func": "sigmoid"}
    linear = config.get("linear_attn_config") or {}
    turning, latent = config["qk_rope_head_dim"], config["kv_lora_rank"]
    return {
        **sizes(config),
        **experts(config),
        "attention.head_count_kv": [int(one) for one in _attending(config)],
        "attention.key_length": latent + turning,
        "attention.value_length": latent,
        "attention.key_length_mla": config["qk_nope_head_dim"] + turning,
        "attention.value_length_mla": config["v_head_dim"],
        "attention.kv_lora_rank": latent,
        "attention.q_lora_rank": config.get("q_lora_rank"),
        "rope.dimension_count": turning,
        "ssm.conv_kernel": linear.get("short_conv_kernel_size", config["linear_conv_kernel_dim"]),
        "kda.head_dim": linear.get("head_dim", config["linear_head_dim"]),
    }


_AT = "layers.{i}.self_attn"
_MOE = "block_sparse_moe"
_DECAYS = reshaped("a row a head", lambda shape, _: (max(shape), 1))
KIMI_LINEAR = HuggingFace(
    classes=("KimiLinearForCausalLM",),
    names=(
        *(*ENDS, *TWO_NORMS, *LATENT_NAMES, *WIDENING, *GATED),
        *in_layers(attn_k="self_attn.k_proj", attn_v="self_attn.v_proj", ssm_beta="self_attn.b_proj"),
        *in_layers(ssm_f_a="self_attn.f_a_proj", ssm_f_b="self_attn.f_b_proj", ssm_norm="self_attn.o_norm"),
        *in_layers(ssm_g_a="self_attn.g_a_proj", ssm_g_b="self_attn.g_b_proj"),
        *(TensorName(f"blk.{{i}}.ssm_conv1d_{one}.weight", f"{_AT}.{one}_conv1d.weight") for one in "qkv"),
        TensorName("blk.{i}.ssm_dt.bias", f"{_AT}.dt_bias"),
        TensorName("blk.{i}.ssm_a", f"{_AT}.A_log", (MINUS_EXP, _DECAYS)),
        *in_layers(ffn_gate=f"{_MOE}.gate_proj", ffn_up=f"{_MOE}.up_proj", ffn_down=f"{_MOE}.down_proj"),
        *expert_names(_MOE, gate="w1", up="w3", down="w2"),
        *shared_names(f"{_MOE}.shared_experts"),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "norm_topk_prob": True, "routed_scaling_factor": 2.446, "first_k_dense_replace": 1},
        **{"linear_head_dim": 128, "linear_conv_kernel_dim": 4, "tie_word_embeddings": False},
        **{"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 256},
        **{"num_shared_experts": 1, "moe_intermediate_size": 1024, "num_experts_per_token": 8, "num_expert_group": 1},
        **{"topk_group": 1, "model_max_length": 1048576},
    },
    reads=READS,
)


@architecture("kimi-linear", hf=KIMI_LINEAR, recurrent=True, defaults={"expert_weights_norm": True})
def kimi_linear(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    form = replace(Latent.read(hp), turns=False)
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        attends = bool(hp.key_heads[i])
        x = x + (latent_attention(h, w, inputs, i, hp.norm_eps, form) if attends else _mixer(h, inputs, w, hp))
        x = x + feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w, hp.experts)
    return logits(x, inputs, weights, hp)


def _mixer(h: Tensor, inputs: Inputs, w: WeightTable, hp: Hparams) -> Tensor:
    """Short convolutions, the delta rule, a norm and a gate of each head. Shapes: [T, D] -> [T, D]."""
    N = hp.keys.integer("kda.head_dim", 1, HEAD_WIDTH_MAX)
    q, k, v = (
        ops.heads(
            ops.silu(ops.short_conv(project(h, w, f"attn_{one}"), w[f"ssm_conv1d_{one}"], None, state=inputs.state())),
            width=N,
        )
        for one in "qkv"
    )  # [T, H, N]
    q, k = (ops.l2_norm(part, eps=_L2_EPS) for part in (q, k))
    steps = ops.softplus(project(project(h, w, "ssm_f_a"), w, "ssm_f_b") + w["ssm_dt.bias"])  # [T, H N]
    decay = ops.scale_heads(ops.heads(steps, width=N), w.bare("ssm_a"))  # [T, H, N]
    beta = ops.sigmoid(project(h, w, "ssm_beta"))  # [T, H]
    y = ops.delta_rule(ops.scale(q, factor=N**-0.5), k, v, decay, beta, state=inputs.state())
    y = ops.flat(ops.rms_norm(ops.heads(y, width=N), w["ssm_norm"], eps=hp.norm_eps))
    return project(y * ops.sigmoid(project(project(h, w, "ssm_g_a"), w, "ssm_g_b")), w, "attn_output")
