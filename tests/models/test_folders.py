"""Folders in other forms than the cases' own hold the same models."""

from __future__ import annotations

import base64
import json
import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from models import running, tiny
from safetensors.numpy import load_file, save_file

from pacos import backends
from pacos.errors import FormatError, ModelNotFound, UnsupportedModel
from pacos.hub.adopt import adopt_folder
from pacos.hub.convert import convert
from pacos.hub.opening import open_model

SEEING = {
    "gemma3": ("Gemma3ForConditionalGeneration", "vision_tower"),
    "gemma4-small": ("Gemma4ForConditionalGeneration", "vision_tower"),
    "mistral3": ("Mistral3ForConditionalGeneration", "vision_tower"),
    "llama4": ("Llama4ForConditionalGeneration", "vision_model"),
    "qwen35": ("Qwen3_5ForConditionalGeneration", "visual"),
    "qwen35moe": ("Qwen3_5MoeForConditionalGeneration", "visual"),
}
# How older and newer folders name what is model.* and lm_head.* of a model for text.
LAYOUTS = {
    "older": lambda name: f"language_model.{name}",
    "newer": lambda name: name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name,
}


def the_logits(folder: Path) -> np.ndarray:
    with closing(open_model(folder)) as archive, closing(backends.backend("cpu")) as backend:
        return running.logits(archive, backend, [tiny.prompt(64)], tiny.KEPT)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", SEEING)
def test_the_text_part_of_a_model_that_sees_computes_alone(case: str, layout: str, tmp_path: Path) -> None:
    name, vision = SEEING[case]
    plain, seeing = tiny.write_folder(case, tmp_path / "plain"), tiny.write_folder(case, tmp_path / "seeing")
    text = {key: value for key, value in tiny.CASES[case].config.items() if key != "architectures"}
    config = {"architectures": [name], "model_type": "seeing", "text_config": text, "vision_config": {"hidden_size": 8}}
    (seeing / "config.json").write_text(json.dumps(config))
    tensors = {LAYOUTS[layout](one): values for one, values in load_file(plain / "model.safetensors").items()}
    tensors |= {
        f"model.{vision}.layers.0.weight": np.ones(8, np.float32),
        f"{vision}.patch.weight": np.ones(8, np.float32),
    }
    save_file(tensors, seeing / "model.safetensors")
    np.testing.assert_array_equal(the_logits(seeing), the_logits(plain))
    with closing(adopt_folder(seeing)) as archive:
        assert [one.partition(": ")[2] for one in archive.warnings] == [
            f"2 tensors that see or hear are left out: {tiny.architecture_of(case).name} reads text"
        ]


@pytest.mark.parametrize("case", ["mamba-published", "mamba2-published"])
def test_a_config_of_state_spaces_needs_no_class(case: str, tmp_path: Path) -> None:
    named, unnamed = (tiny.write_folder(case, tmp_path / name) for name in ("named", "unnamed"))
    config = {key: value for key, value in tiny.CASES[case].config.items() if key != "architectures"}
    (unnamed / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(the_logits(unnamed), the_logits(named))


def test_layers_that_guess_further_tokens_are_left_out(tmp_path: Path) -> None:
    """As the folders of DeepSeek V3 and GLM 4.5 have them behind the others."""
    plain, guessing = (tiny.write_folder("glm4moe", tmp_path / name) for name in ("plain", "guessing"))
    tensors = load_file(guessing / "model.safetensors")
    own = {name: one for name, one in tensors.items() if name.startswith("model.layers.1.")}
    more = {name.replace(".1.", ".2.", 1): one for name, one in own.items()}
    more["model.layers.2.eh_proj.weight"] = np.ones((8, 16), np.float32)
    save_file(tensors | more, guessing / "model.safetensors")
    np.testing.assert_array_equal(the_logits(guessing), the_logits(plain))
    with closing(adopt_folder(guessing)) as archive:
        said = [one.partition(": ")[2] for one in archive.warnings]
        assert said == [f"{len(more)} tensors that guess further tokens are left out"]
    convert(guessing, tmp_path / "model.gguf", "F32")
    with closing(open_model(tmp_path / "model.gguf")) as archive:
        assert not [name for name in archive.tensors if name.startswith("blk.2.")]


def test_experts_of_qwen3_vl_may_stand_upright(tmp_path: Path) -> None:
    """As transformers has them in memory; published folders have them transposed."""
    plain, upright = (tiny.write_folder("qwen3vlmoe", tmp_path / name) for name in ("plain", "upright"))
    tensors = load_file(upright / "model.safetensors")
    turned = {name: np.ascontiguousarray(one.swapaxes(1, 2)) for name, one in tensors.items() if one.ndim == 3}
    assert len(turned) == 4
    save_file(tensors | turned, upright / "model.safetensors")
    np.testing.assert_array_equal(the_logits(upright), the_logits(plain))
    (name,) = (one for one in turned if ".0." in one and "down_proj" in one)
    save_file(tensors | {name: np.ones((4, 16, 16), np.float32)}, upright / "model.safetensors")
    with pytest.raises(UnsupportedModel, match="16 x 16 do not tell"):
        open_model(upright)


def test_older_folders_of_hunyuan_that_sees_name_its_positions_otherwise(tmp_path: Path) -> None:
    """Flat, and with another word for sections and for what stretches the base."""
    plain, older = (tiny.write_folder("hunyuan_vl", tmp_path / name) for name in ("plain", "older"))
    config = json.loads((older / "config.json").read_text())
    text = config.pop("text_config")
    new = text.pop("rope_parameters")
    scaling = {"type": "xdrope", "alpha": new["alpha"], "factor": 1.0, "xdrope_section": new["mrope_section"]}
    said = {**text, **config, "rope_theta": new["rope_theta"], "rope_scaling": scaling}
    (older / "config.json").write_text(json.dumps(said))
    np.testing.assert_array_equal(the_logits(older), the_logits(plain))
    with closing(open_model(plain)) as one, closing(open_model(older)) as other:
        assert {**one.metadata, "general.name": "older"} == other.metadata


def split_grok(folder: Path, parts: int) -> None:
    """As xAI publishes Grok 2: experts' matrices in so many parts under the same names, the rest beside them."""
    tensors = load_file(folder / "model.safetensors")
    experts = {name: one for name, one in tensors.items() if ".experts." in name}
    save_file({n: one for n, one in tensors.items() if n not in experts}, folder / "a-00000-TP-common.safetensors")
    for number in range(parts):
        halves = {n: np.split(one, parts, axis=int(".w2." in n))[number] for n, one in experts.items()}
        kept = {name: np.ascontiguousarray(one) for name, one in halves.items()}
        layers = [{n: one for n, one in kept.items() if f"layers.{i}." in n} for i in range(2)]
        for place, layer in enumerate(layers):
            save_file(layer, folder / f"a-0000{place + 1}-TP-{number:03}.safetensors")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("parts", [1, 4])
def test_grok_2_opens_and_converts_with_its_experts_in_parts(parts: int, tmp_path: Path) -> None:
    plain, parted = (tiny.write_folder("grok-2", tmp_path / name) for name in ("plain", "parted"))
    split_grok(parted, parts)
    np.testing.assert_array_equal(the_logits(parted), the_logits(plain))
    for folder in (plain, parted):
        convert(folder, tmp_path / f"{folder.name}.gguf", "Q8_0")
    with closing(open_model(tmp_path / "plain.gguf")) as one, closing(open_model(tmp_path / "parted.gguf")) as other:
        assert one.tensors.keys() == other.tensors.keys()
        assert all(one.data(name) == other.data(name) for name in one.tensors)


def test_parts_of_grok_2_that_do_not_fit_say_why(tmp_path: Path) -> None:
    folder = tiny.write_folder("grok-2", tmp_path / "parted")
    split_grok(folder, 3)
    first = folder / "a-00001-TP-001.safetensors"
    kept, tensors = first.read_bytes(), load_file(first)
    name = next(name for name in tensors if ".w1." in name)
    for changed, kind, needed in (
        ({**tensors, name: tensors[name][1:]}, FormatError, f"the parts of tensor '{name}' differ in form"),
        ({one: values for one, values in tensors.items() if one != name}, FormatError, "has other tensors than TP-000"),
    ):
        save_file(changed, first)
        with pytest.raises(kind, match=re.escape(needed)):
            open_model(folder)
    first.write_bytes(kept)
    for path in folder.glob("*-TP-001.safetensors"):
        path.unlink()
    with pytest.raises(ModelNotFound, match=r"\*-TP-001\.safetensors is missing"):
        open_model(folder)
    for path in folder.glob("*-TP-00*.safetensors"):
        path.unlink()
    save_file({"model.norm.weight": np.ones(64, np.float32)}, folder / "a-00001-TP-000.safetensors")
    with pytest.raises(UnsupportedModel, match=r"'model\.norm\.weight' is split into parts"):
        open_model(folder)


def test_kimi_k2_opens_and_converts_with_its_tiktoken_file(tmp_path: Path) -> None:
    plain, folder = (tiny.write_folder("kimi-k2", tmp_path / name) for name in ("plain", "kimi"))
    (folder / "tokenizer.json").unlink()
    pairs = [*(bytes([byte]) for byte in range(254)), b"ab", b"abc"]
    rows = "".join(f"{base64.b64encode(one).decode()} {rank}\n" for rank, one in enumerate(pairs))
    (folder / "tiktoken.model").write_text(rows)
    names = {256: "[BOS]", 257: "[EOS]", 258: "<|im_end|>", 259: "<|im_user|>"}
    added = {str(number): {"content": text, "special": True} for number, text in names.items()}
    settings = {"added_tokens_decoder": added, "bos_token": "[BOS]", "eos_token": "[EOS]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "TikTokenTokenizer"}))
    convert(folder, tmp_path / "model.gguf", "F32")
    with closing(open_model(tmp_path / "model.gguf")) as archive:
        said = archive.metadata
        assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", "kimi-k2")
        assert list(said["tokenizer.ggml.tokens"])[254:260] == ["ab", "abc", *names.values()]
        assert list(said["tokenizer.ggml.merges"]) == ["a b", "ab c"]
        assert said["tokenizer.ggml.eos_token_id"] == 257
    np.testing.assert_allclose(the_logits(tmp_path / "model.gguf"), the_logits(plain), atol=1e-5)


LOST = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("case", "changes", "kind", "needed"),
    [
        ("qwen3", {"rope_parameters": {**LOST, "rope_theta": 1e4}}, UnsupportedModel, "rotary scaling 'llama3' is not"),
        ("qwen3", {"num_hidden_layers": None}, FormatError, "num_hidden_layers is missing"),
        ("granite", {"position_embedding_type": "nope"}, UnsupportedModel, "position_embedding_type is 'nope'"),
        ("gemma4-large", {"use_bidirectional_attention": "all"}, UnsupportedModel, "supported is False or 'vision'"),
        ("llama", {"per_layer_config": {"0": {"head_dim": 8}}}, UnsupportedModel, "per_layer_config is"),
    ],
)
def test_a_config_that_is_not_computed_says_what_is(
    case: str, changes: dict[str, object], kind: type[Exception], needed: str, tmp_path: Path
) -> None:
    folder = tiny.write_folder(case, tmp_path / "tiny")
    config = {key: one for key, one in (tiny.CASES[case].config | changes).items() if one is not None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(kind, match=re.escape(needed)):
        open_model(folder)
