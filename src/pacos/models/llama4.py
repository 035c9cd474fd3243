"""Llama 4, text: attention in chunks, layers without positions whose queries sharpen with distance, one expert a token.

Source: Hugging Face modeling_llama4.py; tensor names as in GGUF arch "llama4".
Shapes: T tokens in the step, R rows wanted, D model width, V vocabulary, H query heads, K key heads, E head width.
"""

from __future__ import annotations

from typing import Any

from pacos.errors import UnsupportedModel
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import logits, project, project_heads, silu_feed_forward
from pacos.models.experts import Experts
from pacos.models.hf_config import Config, decoder, llama3_vectors
from pacos.models.hf_experts import READS, experts, shared_names
from pacos.models.hparams import CONTEXT_MAX, LAYERS_MAX, Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixture import expert_project, routed, shared_expert
from pacos.models.registry import architecture
from pacos.models.tensor_names import ATTENTION, ENDS, TRANSPOSE, TWO_NORMS, TensorName, in_layers, part

_EXPERTS_WITHOUT_NORMS = 128  # Maverick's queries and keys have none


def _read(config: Config) -> dict[str, Any]:
    kinds = config.get("no_rope_layers") or []
    interval = config["no_rope_layer_interval"]
    if any(bool(kind) != bool((i + 1) % interval) for i, kind in enumerate(kinds)):
        raise UnsupportedModel(f"config.json: no_rope_layers is {kinds}, supported is one in every {interval} alone")
    return decoder(config) | {
        **experts(config),
        "feed_forward_length": config.get("intermediate_size_mlp"),
        "expert_feed_forward_length": config.get("intermediate_size"),
        "interleave_moe_layer_step": config.get("interleave_moe_layer_step"),
        "attention.chunk_size": config.get("attention_chunk_size"),
        "attention.no_rope_layer_step": interval,
        "attention.use_qk_norm": config.get("use_qk_norm"),
        "attention.temperature_length": config["floor_scale"] if config["attn_temperature_tuning"] else None,
        "attention.temperature_scale": config["attn_scale"] if config["attn_temperature_tuning"] else 0.0,
    }


_AT = "layers.{i}.feed_forward"
LLAMA4 = HuggingFace(
    classes=("Llama4ForCausalLM", "Llama4ForConditionalGeneration"),
    names=(
        *(*ENDS, *TWO_NORMS, *ATTENTION, *shared_names("feed_forward.shared_expert")),
        *in_layers(**{f"ffn_{one}": f"feed_forward.{one}_proj" for one in ("gate", "up", "down")}),
        TensorName("blk.{i}.ffn_gate_inp.weight", f"{_AT}.router.weight"),
        TensorName("blk.{i}.ffn_gate_exps.weight", f"{_AT}.experts.gate_up_proj", (TRANSPOSE, part(0, 2, axis=1))),
        TensorName("blk.{i}.ffn_up_exps.weight", f"{_AT}.experts.gate_up_proj", (TRANSPOSE, part(1, 2, axis=1))),
        TensorName("blk.{i}.ffn_down_exps.weight", f"{_AT}.experts.down_proj", (TRANSPOSE,)),
    ),
    metadata=_read,
    defaults={
        **{"rms_norm_eps": 1e-5, "head_dim": 128, "rope_theta": 500000.0, "no_rope_layer_interval": 4},
        **{"attention_chunk_size": 8192, "use_qk_norm": True, "interleave_moe_layer_step": 1},
        **{"attn_temperature_tuning": True, "floor_scale": 8192, "attn_scale": 0.1},
        "num_key_value_heads": 8,
        **{"intermediate_size_mlp": 16384, "num_local_experts": 16, "num_experts_per_tok": 1},
        "intermediate_size": 8192,
    },
    reads=READS,
    vectors=llama3_vectors,
)


@architecture("llama4", hf=LLAMA4, rope="pairs", defaults={"expert_gating_func": 2})
def llama4(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    step = hp.keys.integer("attention.no_rope_layer_step", 1, LAYERS_MAX, 4)
    everywhere = hp.keys.get("attention.sliding_window") == 0  # MobileLLM's layers all turn, and see all
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        x = x + _attention(h, w, weights.get("rope_freqs"), inputs, hp, i, everywhere or (i + 1) % step != 0)
        h = ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps)
        x = x + (_expert(h, w, hp.needed_experts()) if "ffn_gate_inp" in w else silu_feed_forward(h, w))
    return logits(x, inputs, weights, hp)


def _attention(
    h: Tensor, w: WeightTable, factors: Tensor | None, inputs: Inputs, hp: Hparams, layer: int, turns: bool
) -> Tensor:
    """Layers that turn see their chunk alone; in the others far queries look more sharply. Shapes: [T, D] -> [T, D]."""
    q = project_heads(h, w, "attn_q", hp.head_width)  # [T, H, E]
    k = project_heads(h, w, "attn_k", hp.head_width)  # [T, K, E]
    v = project_heads(h, w, "attn_v", hp.value_width)  # [T, K, E]
    chunk = None
    if turns:
        q, k = (ops.rope(part, inputs.positions, hp.rope, factors) for part in (q, k))
        normed = hp.experts is None or hp.experts.count != _EXPERTS_WITHOUT_NORMS
        if hp.keys.truth("attention.use_qk_norm", default=normed):
            q, k = (ops.rms_norm(part, None, eps=hp.norm_eps) for part in (q, k))
        if hp.keys.get("attention.sliding_window") != 0:
            chunk = hp.keys.integer("attention.chunk_size", 1, CONTEXT_MAX, 8192)
    elif scale := hp.keys.number("attention.temperature_scale", 0, 1e6, 0.1):
        length = hp.keys.integer("attention.temperature_length", 1, CONTEXT_MAX, 8192)
        q = ops.temper(q, inputs.positions, length=float(length), scale=scale)
    return project(ops.attention(q, k, v, cache=inputs.cache[layer], scale=hp.scale, chunk=chunk), w, "attn_output")


def _expert(x: Tensor, w: WeightTable, experts: Experts) -> Tensor:
    """One expert of what its sigmoid leaves of the token, and the expert of all. Shapes: [T, D] -> [T, D]."""
    if experts.used != 1:
        raise UnsupportedModel(f"llama4.expert_used_count is {experts.used}, supported is 1 alone")
    weights, chosen = routed(x, w, experts)
    h = ops.weigh(ops.heads(x, width=x.shape[-1]), weights)
    gate, up = (expert_project(h, chosen, w, name, experts) for name in ("ffn_gate_exps", "ffn_up_exps"))
    y: Tensor = ops.flat(expert_project(ops.silu(gate) * up, chosen, w, "ffn_down_exps", experts))
    return y + shared_expert(x, w)
