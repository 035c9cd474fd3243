"""Tiny random models of every family, as Hugging Face folders, the same on every machine.

Weights come from numpy's PCG64 with a seed, so that `make test` needs no torch: what transformers computes for them is
stored in `vectors/` by `scripts/vectors`.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HIDDEN, HEADS, KEY_HEADS, HEAD, LAYERS, VOCAB, CONTEXT = 256, 512, 4, 2, 64, 2, 256, 512
PROMPTS = (1, 7, 64, 300)  # tokens; the last is longer than every window below
KEPT = 4  # last positions of each prompt whose logits are stored
PAIRS = 3
SPREAD = 0.2

Config = dict[str, Any]


def _decoder(name: str, kind: str, **more: Any) -> Config:
    return {
        "architectures": [name],
        "model_type": kind,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
        **more,
    }


def _rope(kind: str, **more: Any) -> Config:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


def _llama(**more: Any) -> Config:
    return _decoder("LlamaForCausalLM", "llama", hidden_act="silu", **more)


_LLAMA3 = _rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
_GEMMA: Config = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "query_pre_attn_scalar": 128}
_GEMMA3_ROPE: Config = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
}
_ALTERNATING = ["sliding_attention", "full_attention"]

CASES: dict[str, Config] = {
    "llama": _llama(),
    "llama-tied": _llama(tie_word_embeddings=True),
    "llama-biases": _llama(attention_bias=True, mlp_bias=True),
    "llama-linear": _llama(**_rope("linear", factor=4.0)),
    "llama-yarn": _llama(**_rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "llama-factors": _llama(**_LLAMA3),
    "llama-base": _llama(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "mistral": _decoder("MistralForCausalLM", "mistral", hidden_act="silu", sliding_window=48),
    "qwen2": _decoder("Qwen2ForCausalLM", "qwen2", hidden_act="silu", use_sliding_window=False),
    "qwen2-window": _decoder(
        *("Qwen2ForCausalLM", "qwen2"),
        hidden_act="silu",
        use_sliding_window=True,
        sliding_window=40,
        max_window_layers=1,
        layer_types=["full_attention", "sliding_attention"],
    ),
    "qwen3": _decoder("Qwen3ForCausalLM", "qwen3", hidden_act="silu", tie_word_embeddings=True),
    "gemma": _decoder("GemmaForCausalLM", "gemma", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
    "gemma2": _decoder(
        *("Gemma2ForCausalLM", "gemma2"),
        **_GEMMA,
        sliding_window=40,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        layer_types=_ALTERNATING,
    ),
    "gemma3": _decoder(
        *("Gemma3ForCausalLM", "gemma3_text"),
        **{**_GEMMA, "rope_parameters": _GEMMA3_ROPE, "sliding_window": 40, "layer_types": _ALTERNATING},
    ),
    "gpt2": {
        **{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new"},
        **{"n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS, "n_positions": CONTEXT, "vocab_size": VOCAB},
        **{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1},
        "n_inner": HIDDEN,
    },
}


def _encoder(name: str, kind: str, **more: Any) -> Config:
    return {
        **{"architectures": [name], "model_type": kind, "hidden_size": WIDTH, "intermediate_size": HIDDEN},
        **{"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB, "type_vocab_size": 2},
        **{"max_position_embeddings": CONTEXT, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0},
        **more,
    }


ENCODERS: dict[str, Config] = {
    "bert": _encoder("BertModel", "bert"),
    "bert-classifier": _encoder("BertForSequenceClassification", "bert", num_labels=1),
    "roberta": _encoder(
        *("XLMRobertaModel", "xlm-roberta"),
        max_position_embeddings=CONTEXT + 2,
        pad_token_id=1,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    ),
    "nomic-bert": _encoder(
        *("NomicBertModel", "nomic_bert"),
        hidden_act="silu",
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    ),
    "roberta-classifier": _encoder(
        *("XLMRobertaForSequenceClassification", "xlm-roberta"),
        max_position_embeddings=CONTEXT + 2,
        pad_token_id=1,
        type_vocab_size=1,
        num_labels=1,
    ),
}


def weights(case: str) -> dict[str, np.ndarray]:
    """Tensors by their Hugging Face names, f32. Shapes: matrices [out, in], GPT-2's [in, out]."""
    config = CASES.get(case) or ENCODERS[case]
    known = {"gpt2": _gpt2_shapes, "bert": _encoder_shapes, "xlm-roberta": _encoder_shapes, "nomic_bert": _nomic_shapes}
    shapes = known.get(config["model_type"], _decoder_shapes)(config)
    plain_norm = not config["model_type"].startswith("gemma")
    tensors = {}
    for name, shape in sorted(shapes.items()):
        random = np.random.Generator(np.random.PCG64(zlib.crc32(f"{case}/{name}".encode())))
        values = random.standard_normal(shape, np.float32)
        norm = len(shape) == 1 and name.endswith("weight")
        spread = 0.1 if len(shape) == 1 else SPREAD
        if "embed" in name and config["model_type"] in ("gemma2", "gemma3_text"):
            spread = 0.06  # normed layers add so little to larger embeddings that they would just repeat their token
        tensors[name] = values * np.float32(spread) + np.float32(1.0 if norm and plain_norm else 0.0)
    return tensors


def rounded_weights(case: str) -> dict[str, np.ndarray]:
    """The weights as a Q8_0 file holds them, in f32: matrices are rounded, vectors and learned positions are not."""
    from pacos import quants

    def rounded(name: str, values: np.ndarray) -> np.ndarray:
        if values.ndim == 1 or name.endswith("wpe.weight"):
            return values
        turned = ".c_" in name  # GPT-2 keeps these [in, out]
        rows = values.T if turned else values
        packed = quants.dequantize("Q8_0", quants.quantize("Q8_0", rows), rows.shape)
        return np.ascontiguousarray(packed.T if turned else packed)

    return {name: rounded(name, values) for name, values in weights(case).items()}


def _decoder_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    kind = config["model_type"]
    biased = kind == "qwen2" or config.get("attention_bias", False)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, WIDTH), "model.norm.weight": (WIDTH,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCAB, WIDTH)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if kind in ("gemma2", "gemma3_text"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for i in range(LAYERS):
        at = f"model.layers.{i}"
        shapes |= {f"{at}.{norm}.weight": (WIDTH,) for norm in norms}
        for part, rows in (("q", HEADS), ("k", KEY_HEADS), ("v", KEY_HEADS)):
            shapes[f"{at}.self_attn.{part}_proj.weight"] = (rows * HEAD, WIDTH)
            if biased:
                shapes[f"{at}.self_attn.{part}_proj.bias"] = (rows * HEAD,)
        shapes[f"{at}.self_attn.o_proj.weight"] = (WIDTH, HEADS * HEAD)
        if config.get("attention_bias"):
            shapes[f"{at}.self_attn.o_proj.bias"] = (WIDTH,)
        if kind in ("qwen3", "gemma3_text"):
            shapes |= {f"{at}.self_attn.{part}_norm.weight": (HEAD,) for part in "qk"}
        for part, shape in (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
            shapes[f"{at}.mlp.{part}_proj.weight"] = shape
            if config.get("mlp_bias"):
                shapes[f"{at}.mlp.{part}_proj.bias"] = shape[:1]
    return shapes


def _gpt2_shapes(_: Config) -> dict[str, tuple[int, ...]]:
    at = "transformer"
    shapes: dict[str, tuple[int, ...]] = {f"{at}.wte.weight": (VOCAB, WIDTH), f"{at}.wpe.weight": (CONTEXT, WIDTH)}
    pairs = [(f"{at}.ln_f", (WIDTH,))]
    for i in range(LAYERS):
        pairs += [(f"{at}.h.{i}.ln_1", (WIDTH,)), (f"{at}.h.{i}.ln_2", (WIDTH,))]
        pairs += [(f"{at}.h.{i}.attn.c_attn", (WIDTH, 3 * WIDTH)), (f"{at}.h.{i}.attn.c_proj", (WIDTH, WIDTH))]
        pairs += [(f"{at}.h.{i}.mlp.c_fc", (WIDTH, HIDDEN)), (f"{at}.h.{i}.mlp.c_proj", (HIDDEN, WIDTH))]
    for name, shape in pairs:
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
    return shapes


def _encoder_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    classifies = "Classification" in config["architectures"][0]
    bert = config["model_type"] == "bert"
    at = ("bert." if bert else "roberta.") if classifies else ""
    shapes: dict[str, tuple[int, ...]] = {
        f"{at}embeddings.word_embeddings.weight": (VOCAB, WIDTH),
        f"{at}embeddings.position_embeddings.weight": (config["max_position_embeddings"], WIDTH),
        f"{at}embeddings.token_type_embeddings.weight": (config["type_vocab_size"], WIDTH),
    }
    norms, pairs = [f"{at}embeddings.LayerNorm"], []
    for i in range(LAYERS):
        layer = f"{at}encoder.layer.{i}"
        pairs += [(f"{layer}.attention.self.{part}", (WIDTH, WIDTH)) for part in ("query", "key", "value")]
        pairs += [(f"{layer}.attention.output.dense", (WIDTH, WIDTH)), (f"{layer}.output.dense", (WIDTH, HIDDEN))]
        pairs += [(f"{layer}.intermediate.dense", (HIDDEN, WIDTH))]
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    if bert:
        pairs += [(f"{at}pooler.dense", (WIDTH, WIDTH))]
    if classifies:
        heads = ["classifier"] if bert else ["classifier.out_proj"]
        pairs += [(heads[0], (1, WIDTH)), *([] if bert else [("classifier.dense", (WIDTH, WIDTH))])]
    for name, shape in pairs:
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes | {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}


def _nomic_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB, WIDTH),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], WIDTH),
    }
    norms = ["emb_ln"]
    for i in range(LAYERS):
        layer = f"encoder.layers.{i}"
        matrices = {"attn.Wqkv": (3 * WIDTH, WIDTH), "attn.out_proj": (WIDTH, WIDTH), "mlp.fc2": (WIDTH, HIDDEN)}
        matrices |= dict.fromkeys(("mlp.fc11", "mlp.fc12"), (HIDDEN, WIDTH))
        shapes |= {f"{layer}.{name}.weight": shape for name, shape in matrices.items()}
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
    return shapes | {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}


def prompt(tokens: int) -> list[int]:
    """Token ids of the prompt of that length."""
    random = np.random.Generator(np.random.PCG64(tokens))
    return [int(one) for one in random.integers(2, VOCAB, tokens)]


def pair(seed: int) -> tuple[list[int], list[int]]:
    """Token ids of two texts that are compared, with marks as BERT has them."""
    return [2, *prompt(3 + seed), 3], [*prompt(30 + 7 * seed), 3]


def write_folder(case: str, folder: Path, *, rounded: bool = False) -> Path:
    """Save the model as transformers would: config.json, model.safetensors, tokenizer.json."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = CASES.get(case) or ENCODERS[case]
    tokenizer = _word_pieces() if config["model_type"] in ("bert", "nomic_bert") else _tokenizer()
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    save_file(
        rounded_weights(case) if rounded else weights(case), folder / "model.safetensors", metadata={"format": "pt"}
    )
    return folder


def _tokenizer() -> Config:
    """Bytes alone, with two special tokens in the places of two control characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    rest = [byte for byte in range(256) if byte not in letters]
    letters |= {byte: chr(256 + i) for i, byte in enumerate(rest)}
    vocab = {letters[byte]: byte for byte in range(2, 256)} | {"<s>": 0, "</s>": 1}
    added = [{"id": i, "content": text, "special": True, "normalized": False} for i, text in enumerate(("<s>", "</s>"))]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


def _word_pieces() -> Config:
    """Single letters as words and inside words, between marks."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [f"[unused{i}]" for i in range(VOCAB - len(pieces))]
    step = [{"SpecialToken": {"id": mark, "type_id": 0}} for mark in ("[CLS]", "[SEP]")]
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": mark, "special": True} for i, mark in enumerate(marks)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [step[0], {"Sequence": {"id": "A", "type_id": 0}}, step[1]],
        },
        "decoder": {"type": "WordPiece"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {one: i for i, one in enumerate(pieces)}},
    }
