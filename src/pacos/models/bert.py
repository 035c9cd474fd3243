"""BERT and its kin: encoders whose tokens all see each other, with layer norms behind attention and feed-forward unit.

Source: Hugging Face modeling_bert.py, modeling_xlm_roberta.py and modeling_nomic_bert.py, Jina AI's modeling_bert.py;
tensor names as in GGUF arch "bert", "nomic-bert" and "jina-bert-v2", whose learned positions begin at the first token.
The exact GELU; llama.cpp computes its tanh form.
Shapes: T tokens in the step, R rows wanted, D model width, H heads, E head width.
"""

from __future__ import annotations

from collections.abc import Callable

from pacos.errors import FormatError
from pacos.ir import ops
from pacos.ir.graph import Inputs, Tensor, WeightTable
from pacos.models.blocks import both_ways, norm, project, queries_keys_values, rotated, silu_feed_forward
from pacos.models.hf_config import Config, Metadata, sizes
from pacos.models.hparams import Hparams
from pacos.models.huggingface import SILU, HuggingFace
from pacos.models.registry import architecture
from pacos.models.tensor_names import TensorName, in_layers, layer_pair, outside, pair, picked

CLASSES = tuple(
    f"{family}{use}"
    for family in ("Bert", "Roberta", "XLMRoberta", "Camembert")
    for use in ("Model", "ForMaskedLM", "ForSequenceClassification")
)
ENCODER = {"attention.causal": False}
POSITIONS_SKIPPED_MAX = 8
Unit = Callable[[Tensor, WeightTable], Tensor]
_MAX_BIAS = 8.0  # of ALiBi
_ROBERTA = ("roberta", "xlm-roberta", "camembert")


def first_position(config: Config) -> int:
    """The row of learned positions that the first token takes: RoBERTa's begin behind that of padding."""
    if config.get("model_type") not in _ROBERTA:
        return 0
    padding = config.get("pad_token_id", 1)
    if not isinstance(padding, int) or not 0 <= padding < POSITIONS_SKIPPED_MAX:
        raise FormatError(f"config.json: pad_token_id is {padding!a}, needed: 0 to {POSITIONS_SKIPPED_MAX - 1}")
    return padding + 1


def _read_bert(config: Config) -> Metadata:
    context = config.get("max_position_embeddings")
    return {
        **sizes(config),
        "context_length": context - first_position(config) if isinstance(context, int) else None,
        "attention.layer_norm_epsilon": config.get("layer_norm_eps"),
        "attention.causal": False,
        "classifier.output_labels": labels_of(config),
    }


def labels_of(config: Config) -> list[str] | None:
    """What a classifier's numbers are of, where the config names them."""
    classifies = str((config.get("architectures") or [""])[0]).endswith("ForSequenceClassification")
    named = config.get("id2label")
    if not classifies or not isinstance(named, dict):
        return None
    return [str(label) for _, label in sorted(named.items(), key=lambda one: int(one[0]))]


def _read_nomic(config: Config) -> Metadata:
    """In the words of the published files, or in those of transformers."""
    width, heads = (config.get(new, config.get(old)) for new, old in (("hidden_size", "n_embd"), _HEADS))
    head_width = width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None
    fraction = config.get("rotary_emb_fraction", 1.0)
    return {
        "block_count": config.get("num_hidden_layers", config.get("n_layer")),
        "context_length": config.get("max_position_embeddings", config.get("n_positions")),
        "embedding_length": width,
        "feed_forward_length": config.get("intermediate_size", config.get("n_inner")),
        "attention.head_count": heads,
        "attention.layer_norm_epsilon": config.get("layer_norm_eps", config.get("layer_norm_epsilon")),
        "attention.causal": False,
        "rope.freq_base": (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rotary_emb_base"),
        "rope.dimension_count": int(head_width * fraction) if head_width else None,
        "vocab_size": config.get("vocab_size"),
    }


_HEADS = ("num_attention_heads", "n_head")
_LAYER = "encoder.layer.{i}"
_FROM_FIRST = picked("from first", lambda rows, config: (range(min(rows, first_position(config)), rows),))
_HEAD = "^cls\\.(predictions|seq_relationship)\\."  # of training, in whole checkpoints

BERT = HuggingFace(
    classes=CLASSES,
    names=(
        *outside(token_embd="embeddings.word_embeddings", token_types="embeddings.token_type_embeddings"),
        TensorName("position_embd.weight", "embeddings.position_embeddings.weight", (_FROM_FIRST,)),
        *outside(token_embd_norm="embeddings.LayerNorm", cls="pooler.dense"),
        *in_layers(
            "encoder.layer.{i}",
            attn_q="attention.self.query",
            attn_k="attention.self.key",
            attn_v="attention.self.value",
            attn_output="attention.output.dense",
            attn_output_norm="attention.output.LayerNorm",
            ffn_up="intermediate.dense",
            ffn_down="output.dense",
            layer_output_norm="output.LayerNorm",
        ),
        *pair("cls.output", "classifier"),
        *pair("cls", "classifier.dense"),
        *pair("cls.output", "classifier.out_proj"),
    ),
    metadata=_read_bert,
    defaults={
        **{"layer_norm_eps": 1e-12, "tie_word_embeddings": True, "hidden_act": "gelu"},
        **{"max_position_embeddings": 512},
    },
    activations=("gelu",),
    prefixes=("bert.", "roberta."),
    fits=lambda config: not config.get("lora_adaptations"),  # as Jina's third has
    needless=rf"embeddings\.position_ids$|{_HEAD}",
)
NOMIC_BERT = HuggingFace(
    classes=("NomicBertModel",),
    names=(
        *outside(token_embd="embeddings.word_embeddings", token_types="embeddings.token_type_embeddings"),
        *outside(token_embd_norm="emb_ln"),
        *in_layers(
            "encoder.layers.{i}",
            attn_qkv="attn.Wqkv",
            attn_output="attn.out_proj",
            attn_output_norm="norm1",
            ffn_up="mlp.fc11",
            ffn_gate="mlp.fc12",
            ffn_down="mlp.fc2",
            layer_output_norm="norm2",
        ),
    ),
    metadata=_read_nomic,
    defaults={"layer_norm_epsilon": 1e-12, "tie_word_embeddings": True, "rotary_emb_base": 1000.0},
    activations=(*SILU, "swiglu"),
    fits=lambda config: not config.get("moe_every_n_layers"),
    prefixes=("bert.",),
    needless=_HEAD,
)

# Of Jina's model for code: what is gated comes first there.
_GATE_FIRST = picked("gate first", lambda rows, _: (range(rows // 2, rows), range(rows // 2)))
JINA_BERT = HuggingFace(
    classes=("JinaBertModel", "JinaBertForMaskedLM"),
    names=(
        *outside(token_embd="embeddings.word_embeddings", token_types="embeddings.token_type_embeddings"),
        *outside(token_embd_norm="embeddings.LayerNorm"),
        *in_layers(
            _LAYER,
            attn_q="attention.self.query",
            attn_k="attention.self.key",
            attn_v="attention.self.value",
            attn_q_norm="attention.self.layer_norm_q",
            attn_k_norm="attention.self.layer_norm_k",
            attn_output="attention.output.dense",
            attn_output_norm="attention.output.LayerNorm",
            attn_norm_2="layer_norm_1",
            ffn_up="mlp.gated_layers",
            ffn_down="mlp.wo",
            layer_output_norm="mlp.layernorm",
        ),
        *layer_pair("ffn_up", "mlp.up_gated_layer", _GATE_FIRST, at=_LAYER),
        *in_layers(_LAYER, ffn_down="mlp.down_layer", layer_output_norm="layer_norm_2"),
    ),
    metadata=lambda config: {**_read_bert(config), "vocab_size": config.get("vocab_size")},
    defaults={
        **{"layer_norm_eps": 1e-12, "tie_word_embeddings": True, "hidden_act": "gelu"},
        **{"max_position_embeddings": 512, "position_embedding_type": "alibi", "feed_forward_type": "geglu"},
    },
    activations=("gelu",),
    reads=("position_embedding_type",),
    refuses=(("position_embedding_type", "alibi"), ("feed_forward_type", "geglu")),
    prefixes=("bert.",),
    needless=rf"embeddings\.position_ids$|alibi$|{_HEAD}",
)


@architecture("bert", hf=BERT, rope="", defaults=ENCODER)
def bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D] of the rows wanted."""
    x = _embedded(inputs, weights) + ops.embed(inputs.positions, weights["position_embd"])  # [T, D]
    x = norm(x, weights, "token_embd_norm", hp)
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = queries_keys_values(x, w, hp, i)
        a = ops.attention(q, k, v, cache=inputs.cache[0], scale=hp.scale, bidirectional=True)
        x = norm(x + project(a, w, "attn_output"), w, "attn_output_norm", hp)
        h = project(ops.gelu(project(x, w, "ffn_up")), w, "ffn_down")
        x = norm(x + h, w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


@architecture("nomic-bert", hf=NOMIC_BERT, defaults=ENCODER)
def nomic_bert(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D]: rotary positions, gated SiLU."""
    return rotary_layers(normed_embeddings(inputs, weights, hp), inputs, weights, hp, silu_feed_forward)


def rotary_layers(x: Tensor, inputs: Inputs, weights: WeightTable, hp: Hparams, unit: Unit) -> Tensor:
    """Hidden states [R, D] of layers with rotary positions and feed-forward units of this kind. Shapes: x [T, D]."""
    for i in range(hp.layers):
        w = weights.block(i)
        qkv = rotated(x, w, inputs, hp, i)
        x = norm(x + project(both_ways(qkv, inputs, hp, i), w, "attn_output"), w, "attn_output_norm", hp)
        x = norm(x + unit(x, w), w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


@architecture("jina-bert-v2", hf=JINA_BERT, rope="", defaults=ENCODER)
def jina_bert_v2(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Hidden states [R, D]: no positions but ALiBi's bias, gated GELU; some have more norms."""
    x = normed_embeddings(inputs, weights, hp)
    for i in range(hp.layers):
        w = weights.block(i)
        q, k, v = (project(x, w, name) for name in ("attn_q", "attn_k", "attn_v"))
        if "attn_q_norm" in w:
            q, k = norm(q, w, "attn_q_norm", hp), norm(k, w, "attn_k_norm", hp)
        q, k, v = (ops.heads(part, width=hp.head_width) for part in (q, k, v))
        a = ops.attention(q, k, v, cache=inputs.cache[0], scale=hp.scale, bidirectional=True, max_bias=_MAX_BIAS)
        before, x = x, norm(x + project(a, w, "attn_output"), w, "attn_output_norm", hp)
        if "attn_norm_2" in w:
            x = norm(x + before, w, "attn_norm_2", hp)
        x = norm(x + project(_gated(x, w), w, "ffn_down"), w, "layer_output_norm", hp)
    y: Tensor = ops.take(x, inputs.outputs)
    return y


def _gated(x: Tensor, w: WeightTable) -> Tensor:
    """Gated GELU, whose two matrices files of today hold as one, the gate first. Shapes: [T, D] -> [T, N]."""
    if "ffn_gate" in w:
        y: Tensor = ops.gelu(project(x, w, "ffn_gate")) * project(x, w, "ffn_up")
        return y
    both = project(x, w, "ffn_up")  # [T, 2 N]
    half = int(both.shape[-1]) // 2
    y = ops.gelu(ops.columns(both, start=0, stop=half)) * ops.columns(both, start=half, stop=2 * half)
    return y


def normed_embeddings(inputs: Inputs, weights: WeightTable, hp: Hparams) -> Tensor:
    """Embeddings of tokens and of their types, no positions. Shapes: [T, D]."""
    return norm(_embedded(inputs, weights), weights, "token_embd_norm", hp)


def _embedded(inputs: Inputs, weights: WeightTable) -> Tensor:
    x: Tensor = ops.embed(inputs.tokens, weights["token_embd"])  # [T, D]
    return x + ops.embed(inputs.types, weights["token_types"]) if "token_types" in weights else x
