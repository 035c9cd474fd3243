"""PLaMo 2: attention and a scan like Mamba 2's by turns, each part between two norms, fused matrices.

Source: the modeling_plamo.py of the published folders, as mlx-lm and llama.cpp read it; tensor names as in GGUF arch
"plamo2". Folders name a window of attention, which these two leave out, and so does this.
Shapes: T tokens in the step, R rows wanted, D model width, C inner width, H heads of a scan, N width of a state's row.
"""

from __future__ import annotations

from pacos.errors import FormatError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.lazy import np
from pacos.models.blocks import attend, fused_silu_feed_forward, logits, project, queries_keys_values
from pacos.models.hf_config import Config, Metadata, decoder
from pacos.models.hparams import Hparams
from pacos.models.huggingface import HuggingFace
from pacos.models.mixers import MINUS_EXP, TAPS
from pacos.models.recurrence import Recurrence
from pacos.models.registry import architecture
from pacos.models.tensor_names import Change, TensorName, changed, in_layers, mapped, outside


def _plus(offset: float) -> Change:
    return mapped(f"plus {offset:g}", lambda x, _: x + np.float32(offset))


_MIXER, _AFTER_MIXER, _AFTER_UNIT = _plus(1.0), _plus(1 / 5), _plus(1 / 5**1.5)


def _attends(config: Config, layer: int) -> bool:
    layers, step = config["num_hidden_layers"], config["mamba_step"]
    if not config["mamba_enabled"]:
        return True
    if step < 2:
        raise FormatError(f"config.json: mamba_step is {step!a}, needed: 2 or more")
    return bool(layer == layers - 1 if layers <= step // 2 else layer % step == step // 2)


def _read_config(config: Config) -> Metadata:
    width, heads = config["hidden_size_per_head"], config["mamba_num_heads"]
    attends = [_attends(config, i) for i in range(config["num_hidden_layers"])]
    # Query heads are one number for all layers, as llama.cpp turns nothing where the first layer has none.
    return {
        **decoder({**config, "head_dim": width}),
        "attention.head_count_kv": [config["num_key_value_heads"] if one else 0 for one in attends],
        "ssm.state_size": config["mamba_d_state"],
        "ssm.conv_kernel": config["mamba_d_conv"],
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * width,
        "ssm.group_count": 0,
    }


_AT = "layers.layers.{i}"
# What PLaMo 3 has too; norms lie around something else each.
PARTS = (
    *outside(token_embd="embed_tokens", output="lm_head"),
    *changed(outside(output_norm="norm"), _MIXER, "weight"),
    *changed(in_layers(_AT, attn_norm="pre_mixer_norm", ffn_norm="pre_mlp_norm"), _MIXER, "weight"),
    TensorName("blk.{i}.post_attention_norm", f"{_AT}.post_mixer_norm.weight", (_AFTER_MIXER,)),
    TensorName("blk.{i}.post_ffw_norm", f"{_AT}.post_mlp_norm.weight", (_AFTER_UNIT,)),
    *in_layers(_AT, attn_qkv="mixer.qkv_proj", attn_output="mixer.o_proj"),
    *in_layers(_AT, ffn_up="mlp.gate_up_proj", ffn_down="mlp.down_proj"),
)
PLAMO2 = HuggingFace(
    classes=("Plamo2ForCausalLM", "PLaMo2ForCausalLM"),
    names=(
        *PARTS,
        TensorName("blk.{i}.attn_q_norm.weight", f"{_AT}.mixer.q_weight"),
        TensorName("blk.{i}.attn_k_norm.weight", f"{_AT}.mixer.k_weight"),
        *in_layers(_AT, ssm_in="mixer.in_proj", ssm_x="mixer.bcdt_proj", ssm_out="mixer.out_proj"),
        TensorName("blk.{i}.ssm_conv1d.weight", f"{_AT}.mixer.conv1d.weight", (TAPS,)),
        TensorName("blk.{i}.ssm_dt.weight", f"{_AT}.mixer.dt_proj.weight"),
        TensorName("blk.{i}.ssm_dt.bias", f"{_AT}.mixer.dt_bias"),
        TensorName("blk.{i}.ssm_a", f"{_AT}.mixer.A_log", (MINUS_EXP,)),
        TensorName("blk.{i}.ssm_d", f"{_AT}.mixer.D"),
        *(
            TensorName(f"blk.{{i}}.ssm_{one.lower()}_norm", f"{_AT}.mixer.{one}_norm_weight")
            for one in ("dt", "B", "C")
        ),
    ),
    metadata=_read_config,
    defaults={
        **{"hidden_size": 4096, "num_hidden_layers": 32, "rms_norm_eps": 1e-6, "tie_word_embeddings": True},
        **{"num_attention_heads": 32, "num_key_value_heads": 4, "hidden_size_per_head": 128, "vocab_size": 32000},
        **{"max_position_embeddings": 2048, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_num_heads": 64},
        **{"mamba_step": 2, "mamba_enabled": True, "intermediate_size": 13312},
    },
)


@architecture("plamo2", hf=PLAMO2, recurrent=True)
def plamo2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Logits [R, V] for the rows wanted."""
    x = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    for i in range(hp.layers):
        w = weights.block(i)
        h = ops.rms_norm(x, w["attn_norm"], eps=hp.norm_eps)
        h = _attend(h, w, inputs, hp, i) if hp.key_heads[i] else _scan(h, w, inputs, hp)
        x = x + ops.rms_norm(h, w.bare("post_attention_norm"), eps=hp.norm_eps)
        h = fused_silu_feed_forward(ops.rms_norm(x, w["ffn_norm"], eps=hp.norm_eps), w)
        x = x + ops.rms_norm(h, w.bare("post_ffw_norm"), eps=hp.norm_eps)
    return logits(x, inputs, weights, hp)


def _attend(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams, layer: int) -> Tensor:
    """Attention with a norm for each head of queries and keys. Shapes: [T, D] -> [T, D]."""
    q, k, v = queries_keys_values(h, w, hp, layer)
    q, k = (
        ops.rope(ops.rms_norm(part, w[f"attn_{name}_norm"], eps=hp.norm_eps), inputs.positions, hp.rope)
        for name, part in (("q", q), ("k", k))
    )
    return attend((q, k, v), w, inputs, hp, layer)


def _scan(h: Tensor, w: WeightTable, inputs: Inputs, hp: Hparams) -> Tensor:
    """A short convolution and a scan of heads that share what goes in and out. Shapes: [T, D] -> [T, D]."""
    form = Recurrence.from_keys(hp.keys)
    C, N, H = form.inner, form.state, form.rank
    if not H or not N or C % H:
        raise hp.keys.refuse("ssm.inner_size", f"a multiple of {H} heads")
    both = ops.heads(project(h, w, "ssm_in"), width=2 * C // H)  # [T, H, 2 C / H]
    z = ops.flat(ops.part(both, start=0, stop=C // H))
    x = ops.flat(ops.part(both, start=C // H, stop=2 * C // H))
    x = ops.silu(ops.short_conv(x, w["ssm_conv1d"], None, state=inputs.state()))
    parts = project(x, w, "ssm_x")  # [T, N + N + width of steps]
    cuts = {"b": (0, N), "c": (N, 2 * N), "dt": (2 * N, int(parts.shape[-1]))}
    b, c, dt = (
        ops.rms_norm(ops.columns(parts, start=start, stop=stop), w.bare(f"ssm_{name}_norm"), eps=hp.norm_eps)
        for name, (start, stop) in cuts.items()
    )
    dt = ops.softplus(project(dt, w, "ssm_dt"))  # [T, H]
    x = ops.heads(x, width=C // H)  # [T, H, C / H]
    b, c = (ops.heads(part, width=N) for part in (b, c))  # [T, 1, N]
    y = ops.grouped_scan(x, dt, b, c, w.bare("ssm_a"), state=inputs.state())
    y = ops.silu(z) * (y + ops.flat(ops.scale_heads(x, w.bare("ssm_d"))))
    return project(y, w, "ssm_out")
