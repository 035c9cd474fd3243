"""LoRA adapters: what they compute, beside others, from every form of base and adapter, and what is refused."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import adapter_builder as building
import numpy as np
import pytest
from adapted import KL_MAX, PROMPT, VECTORS, logits, opened
from commands import here
from models import running, tiny
from safetensors.numpy import load_file, save_file

import pacos
from pacos import quants
from pacos.errors import FormatError, ModelNotFound, PacosError, UnsupportedModel, UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import write_gguf
from pacos.hub.adapter_rows import base_in
from pacos.hub.adapters import convert_adapter, open_adapter
from pacos.hub.convert import convert
from pacos.hub.export_lora import export_lora

PEER_KL_MAX = 1e-4
CASES = ["llama", "gpt2", "phi3", "baichuan-7b", "gptneox", "internlm2", "qwen3", "deepseek2", "mixtral"]
CASES += ["t5", "flan-t5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as folder and file, and two adapters of it."""
    place = tmp_path_factory.mktemp("adapters")
    tiny.write_folder("llama", place / "base")
    convert(place / "base", place / "base.gguf", "F32")
    for seed in ("x", "y"):
        building.write("llama", place / seed, seed=seed)
        convert_adapter(place / seed, base_in(place / "base"), place / f"{seed}.gguf")
    return place


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_computes_what_the_merged_model_does(case: str, tmp_path: Path) -> None:
    folder = tiny.write_folder(case, tmp_path / "base")
    convert(folder, tmp_path / "base.gguf", "F32")
    adapter = building.write(case, tmp_path / "adapter")
    convert_adapter(adapter, base_in(folder), tmp_path / "adapter.gguf")
    expected = logits(building.merged(case, tmp_path / "merged", {"": 1.0}))
    assert running.divergence(expected, logits(folder)) > 1e-2
    for base in (folder, tmp_path / "base.gguf"):
        for given in (adapter, tmp_path / "adapter.gguf"):
            assert running.divergence(expected, logits(base, lora=(str(given),))) < KL_MAX, (base.name, given.name)
    export_lora(tmp_path / "base.gguf", tmp_path / "out.gguf", (str(adapter),))
    assert running.divergence(expected, logits(tmp_path / "out.gguf")) < KL_MAX


def test_both_backends_and_several_adapters_agree_with_the_merged_model(made: Path, tmp_path: Path) -> None:
    given = {"lora": (str(made / "x.gguf"),), "lora_scaled": (f"{made / 'y.gguf'}:-0.5",)}
    expected = logits(building.merged("llama", tmp_path / "merged", {"x": 1.0, "y": -0.5}))
    for backend in ("cpu", "reference"):
        assert running.divergence(expected, logits(made / "base.gguf", backend=backend, **given)) < KL_MAX
    export_lora(made / "base.gguf", tmp_path / "merged.gguf", **given)
    assert running.divergence(expected, logits(tmp_path / "merged.gguf")) < KL_MAX


def answers(llm: pacos.LLM, scales: list[tuple[float, ...]]) -> list[tuple[int, ...]]:
    """Continuations of one prompt under these scales, computed together."""

    def answer(scale: tuple[float, ...]) -> tuple[int, ...]:
        return llm.generate(PROMPT * 3, n_predict=24, temp=0.0, ignore_eos=True, lora_scales=scale).token_ids

    with ThreadPoolExecutor(len(scales)) as pool:
        return list(pool.map(answer, scales))


def test_an_encoder_reads_under_the_scales_of_its_sequence(tmp_path: Path) -> None:
    folder, adapter = tiny.write_folder("flan-t5", tmp_path / "base"), building.write("flan-t5", tmp_path / "adapter")
    scales = [(0.0,), (1.0,), (-0.5,)]
    with opened(folder, lora=(str(adapter),)) as llm:
        together = answers(llm, scales * 2)
        read = [llm.generate(PROMPT * 3, n_predict=1, lora_scales=one).timings.cached_tokens for one in scales]
    with opened(folder, lora=(str(adapter),)) as llm:
        alone = [answers(llm, [one])[0] for one in scales]
    with opened(folder) as llm:
        plain = llm.generate(PROMPT * 3, n_predict=24, temp=0.0, ignore_eos=True).token_ids
    assert together == alone * 2
    assert alone[0] == plain
    assert len(set(alone)) == 3
    assert read == [len(PROMPT) * 3] * 3


def test_sequences_with_other_scales_are_computed_together_and_never_share_pages(made: Path) -> None:
    scales = [(0.0, 0.0), (1.0, 0.0), (0.0, 0.7), (1.0, -0.5)]
    with opened(made / "base.gguf") as llm:
        plain = llm.generate(PROMPT * 3, n_predict=24, temp=0.0, ignore_eos=True).token_ids
    with opened(made / "base.gguf", lora=(str(made / "x.gguf"), str(made / "y.gguf"))) as llm:
        alone = [answers(llm, [one])[0] for one in scales]
        assert len(set(alone)) == len(scales), "each scale says something else"
        assert alone[0] == plain, "without adapters the bits are the model's own"
        assert answers(llm, scales * 2) == alone * 2
        again = llm.generate(PROMPT * 3, n_predict=2, temp=0.0, lora_scales=scales[1])
        assert again.timings.cached_tokens > 0, "texts under one scale do share"
        llm.engine.adapters.set((0.0, 0.7))
        default = llm.generate(PROMPT * 3, n_predict=24, temp=0.0, ignore_eos=True)
        assert default.token_ids == alone[2]
        for wrong in ((1.0,), (1.0, 1.0, 1.0)):
            with pytest.raises(UsageError, match="2 adapters"):
                llm.generate(PROMPT, lora_scales=wrong)
    with opened(made / "base.gguf") as llm, pytest.raises(UsageError, match="0 adapters"):
        llm.generate(PROMPT, lora_scales=(1.0,))


def test_computed_texts_are_bound_to_the_adapters(made: Path, tmp_path: Path) -> None:
    tokens = array("i", PROMPT * 4)
    with opened(made / "base.gguf", lora=(str(made / "x.gguf"),)) as llm:
        llm.generate(tokens, n_predict=1)
        llm.engine.texts.save(tokens, "", tmp_path / "text")
        assert len(llm.engine.texts.restore(tmp_path / "text", "").tokens) > 0
        llm.engine.adapters.set((0.5,))
        with pytest.raises(FormatError):
            llm.engine.texts.restore(tmp_path / "text", "")
    with opened(made / "base.gguf") as llm, pytest.raises(FormatError):
        llm.engine.texts.restore(tmp_path / "text", "")


@pytest.mark.parametrize("name", building.STORED)
def test_peft_and_llama_cpp_compute_the_same(name: str, tmp_path: Path) -> None:
    """`scripts/adapter-vectors` wrote what they compute."""
    case, said = building.STORED[name]
    folder = tiny.write_folder(case, tmp_path / "base")
    adapter = building.write(case, tmp_path / "adapter", **said)
    convert_adapter(adapter, base_in(folder), tmp_path / "adapter.gguf")
    scaled = f"{tmp_path / 'adapter.gguf'}:{building.STORED_SCALE}"
    with np.load(VECTORS) as stored:
        peft, peer = stored[f"{name}/peft"], stored[f"{name}/llama.cpp"]
    for given in ({"lora": (str(adapter),)}, {"lora": (str(tmp_path / "adapter.gguf"),)}):
        assert running.divergence(peft, logits(folder, **given)[-len(peft) :]) < KL_MAX
    assert running.divergence(peer, logits(folder, lora_scaled=(scaled,))[-len(peer) :]) < PEER_KL_MAX
    assert running.divergence(peft, peer) > 1e-3


def test_an_embedding_that_is_the_output_too_is_merged_apart(tmp_path: Path) -> None:
    folder = tiny.write_folder("llama-tied", tmp_path / "base")
    convert(folder, tmp_path / "base.gguf", "F32")
    adapter = building.write("llama-tied", tmp_path / "adapter", embedding=True)
    expected = logits(folder, lora=(str(adapter),))
    export_lora(tmp_path / "base.gguf", tmp_path / "out.gguf", (str(adapter),))
    assert "output.weight" in read_gguf(tmp_path / "out.gguf").tensors
    assert running.divergence(expected, logits(tmp_path / "out.gguf")) < KL_MAX


def test_merged_tensors_keep_their_types(made: Path, tmp_path: Path) -> None:
    convert(made / "base", tmp_path / "base.gguf", "Q8_0")
    before = read_gguf(tmp_path / "base.gguf")
    for outtype in (None, "F16"):
        export_lora(tmp_path / "base.gguf", tmp_path / "out.gguf", (str(made / "x"),), outtype=outtype)
        after = read_gguf(tmp_path / "out.gguf")
        assert dict(after.metadata) == dict(before.metadata)
        for name, entry in before.tensors.items():
            changed = ".attn_norm" not in name and "ffn_norm" not in name and name.startswith("blk.")
            assert after.tensors[name].type == (outtype if outtype and changed else entry.type), name
            assert (bytes(after.data(name)) == bytes(before.data(name))) != changed, name
    pair = open_adapter(made / "x", before).pairs["blk.0.ffn_up.weight"]
    a, b = (quants.dequantize(one.type, one.data, one.shape) for one in (pair.a, pair.b))
    entry = before.tensors["blk.0.ffn_up.weight"]
    base, found = (
        quants.dequantize(archive.tensors[entry.name].type, archive.data(entry.name), entry.shape)
        for archive in (before, after)
    )
    np.testing.assert_allclose(found, base + b @ a * pair.factor, rtol=1e-3, atol=1e-4)


def _config(**said: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))

    return change


def _tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return apply


FIRST = "base_model.model.model.layers.0.self_attn.q_proj"
REFUSED: dict[str, tuple[Callable[[Path], None], type[PacosError], str]] = {
    "kind": (_config(peft_type="IA3"), UnsupportedModel, "IA3.*supported: LORA"),
    "dora": (_config(use_dora=True), FormatError, "has no magnitudes, use_dora is True"),
    "biases": (_config(bias="all"), UnsupportedModel, "bias is all"),
    "rank": (_config(r=4), FormatError, "of rank 8.*says 4"),
    "alpha": (_config(lora_alpha="much"), FormatError, "lora_alpha is much"),
    "half": (_tensors(lambda t: t.pop(f"{FIRST}.lora_A.weight")), FormatError, "no A and B that fit"),
    "nothing": (_tensors(lambda t: t.clear()), PacosError, "no adapter's tensors|.safetensors"),
    "other tensor": (_tensors(lambda t: t.update({f"{FIRST}.weight": np.zeros((2, 2))})), UnsupportedModel, "no part"),
    "unknown module": (
        _tensors(lambda t: t.update({f"base_model.model.x.lora_{h}.weight": np.zeros((8, 8), "f") for h in "AB"})),
        UnsupportedModel,
        "changes 'x', which llama does not have",
    ),
    "width": (
        _tensors(lambda t: t.update({f"{FIRST}.lora_A.weight": np.zeros((8, 128), np.float32)})),
        FormatError,
        "adapter of another model",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_cannot_be_used_are_refused(name: str, made: Path, tmp_path: Path) -> None:
    change, kind, words = REFUSED[name]
    change(building.write("llama", tmp_path / "adapter"))
    for base in (made / "base", made / "base.gguf"):
        with pytest.raises(kind, match=words):
            opened(base, lora=(str(tmp_path / "adapter"),))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("general.type", "model", "is no adapter: general.type is model"),
        ("adapter.type", "control_vector", "of type control_vector, supported: lora"),
        ("general.architecture", "qwen2", "an adapter of qwen2, the model is llama"),
        ("adapter.lora.alpha", "x", "alpha is x"),
        ("adapter.alora.invocation_tokens", [1, 2], "aLoRA"),
    ],
)
def test_files_that_are_no_adapters_of_the_model_are_refused(
    key: str, value: Any, words: str, made: Path, tmp_path: Path
) -> None:
    with read_gguf(made / "x.gguf") as archive:
        tensors = [(one.name, one.shape, one.type, archive.data(one.name)) for one in archive.tensors.values()]
        write_gguf(tmp_path / "bad.gguf", {**archive.metadata, key: value}, tensors)
        plain = {name: one for name, one in archive.metadata.items() if name != "general.type"}
        write_gguf(tmp_path / "model.gguf", plain, tensors)
        write_gguf(tmp_path / "half.gguf", archive.metadata, tensors[1:])
        write_gguf(tmp_path / "odd.gguf", archive.metadata, [*tensors, ("odd", (2,), "F32", bytes(8))])
    with pytest.raises((FormatError, UnsupportedModel), match=words):
        opened(made / "base.gguf", lora=(str(tmp_path / "bad.gguf"),))
    for name, text in (("half", "alone"), ("odd", "neither .lora_a nor"), ("model", "it is a model")):
        with pytest.raises(FormatError, match=text):
            opened(made / "base.gguf", lora=(str(tmp_path / f"{name}.gguf"),))
    with pytest.raises(ModelNotFound):
        opened(made / "base.gguf", lora=(str(tmp_path / "none.gguf"),))
    for text in ("x.gguf", "x.gguf:much", ":1", "x.gguf:nan"):
        with pytest.raises(UsageError, match="FILE:SCALE"):
            opened(made / "base.gguf", lora_scaled=(text,))


def test_the_commands(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    done = here("convert", str(made / "x"), str(out), "--base", str(made / "base.gguf"))
    assert done.code == 0, done.err
    assert out.read_bytes() == (made / "x.gguf").read_bytes()
    assert "--base" in here("convert", str(made / "x"), str(tmp_path / "a.gguf")).err
    assert here("convert", str(made / "base"), str(tmp_path / "a.gguf"), "--base", "x").code == 2
    merged = tmp_path / "merged.gguf"
    given = ("--lora-scaled", f"{out}:0.5")
    done = here("export-lora", str(made / "base.gguf"), *given, "-o", str(merged))
    assert done.code == 0, done.err
    assert here("export-lora", str(made / "base.gguf"), *given, "-o", str(merged)).code == 2, "it is there"
    assert here("export-lora", str(made / "base.gguf"), "-o", str(tmp_path / "b.gguf")).code == 2, "no adapter"
    asked = ("-p", "abc", "-n", "8", "--temp", "0", "--ignore-eos")
    texts = [here("run", str(path), *more, *asked) for path, more in ((merged, ()), (made / "base.gguf", given))]
    assert texts[0].code == texts[1].code == 0, texts[1].err
    assert texts[0].out == texts[1].out != here("run", str(made / "base.gguf"), *asked).out


def test_a_modelfile_gives_a_name_an_adapter(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))
    (made / "Modelfile").write_text("FROM ./base.gguf\nADAPTER ./x.gguf\n")
    assert here("create", "styled", "-f", str(made / "Modelfile")).code == 0
    with pacos.load("styled") as llm:
        assert [one.path.name for one in llm.adapters] == ["x.gguf"]
        assert llm.engine.adapters.now == (1.0,)
    shown = here("show", "styled", "--modelfile").out
    assert f"ADAPTER {made / 'x.gguf'}" in shown
    (made / "Modelfile").write_text(shown)
    assert here("create", "again", "-f", str(made / "Modelfile")).code == 0
    (made / "Modelfile").write_text("FROM ./base.gguf\nADAPTER ./none.gguf\n")
    assert "no adapter" in here("create", "bad", "-f", str(made / "Modelfile")).err
