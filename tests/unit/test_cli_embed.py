"""`pacos embed` and `pacos rerank`."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import here
from models.tiny import write_folder

import pacos


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder("bert-classifier", tmp_path_factory.mktemp("models") / "ranks")


def test_lines_of_numbers_and_json(tmp_path: Path) -> None:
    texts = ["Once upon a time", "a dragon"]
    done = here("embed", "storyteller", *texts, "--pooling", "mean", "--embd-normalize", "-1")
    assert (done.code, done.err) == (0, "")
    lines = [[float(word) for word in line.split()] for line in done.out.splitlines()]
    with pacos.load("storyteller") as llm:
        wanted = llm.embed(texts, pooling="mean", normalize=-1)
    assert [len(line) for line in lines] == [256, 256]
    assert lines[1] == pytest.approx(list(wanted.vectors[1]), rel=1e-6)
    (tmp_path / "texts").write_text("Once upon a time\na dragon\n")
    for given in (("-f", tmp_path / "texts"), ()):
        stdin = {} if given else {"stdin": "Once upon a time\na dragon\n"}
        found = here(
            "embed", "storyteller", *given, "--pooling", "mean", "--embd-normalize", "-1", "--json", **stdin
        ).data
        assert found["embeddings"] == [pytest.approx(line, rel=1e-6) for line in lines]
        assert (found["pooling"], found["width"], found["truncated"]) == ("mean", 256, [])
        assert found["tokens"] == list(wanted.token_counts)


def test_a_line_for_every_token_without_pooling() -> None:
    found = here("embed", "storyteller", "a dragon", "--pooling", "none", "--json", "--dimensions", "3").data
    assert [len(row) for row in found["embeddings"][0]] == [3] * found["tokens"][0]
    lines = here("embed", "storyteller", "a dragon", "--pooling", "none", "--dimensions", "3").out.splitlines()
    assert len(lines) == found["tokens"][0]


def test_cutting_is_said() -> None:
    done = here("embed", "storyteller", "a", "a b c d e f", "--truncate", "--max-length", "3", "--json")
    assert done.code == 0
    assert "input 1 was cut to 3 tokens" in done.err
    assert done.data["truncated"] == [1]
    refused = here("embed", "storyteller", "a b c d e f", "--max-length", "3")
    assert refused.code == 2
    assert "input 0:" in refused.err
    assert "--truncate" in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("embed", "storyteller", "a", "-f", "x"), "given twice"),
        (("embed", "storyteller", "a", "--pooling", "median"), "--pooling is 'median'"),
        (("embed", "storyteller", "a", "--embd-normalize", "-2"), "--embd-normalize is -2"),
        (("rerank", "storyteller", "a", "b"), "no head that ranks"),
        (("run", "{reranker}", "-p", "a"), "encoder"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], said: str, reranker: Path) -> None:
    done = here(*(one.format(reranker=reranker) for one in arguments))
    assert done.code == 2
    assert said in done.err


def test_documents_the_best_first(reranker: Path) -> None:
    documents = ["a b c", "zzz", "a", "? !"]
    found = here("rerank", reranker, "fox", *documents, "--json").data
    scores = [one["score"] for one in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert {one["document"] for one in found["results"]} == set(documents)
    assert [documents[one["index"]] for one in found["results"]] == [one["document"] for one in found["results"]]
    line = here("rerank", reranker, "fox", *documents, "--top-n", "1").out
    assert line.count("\n") == 1
    assert line.split("\t")[1:] == [str(found["results"][0]["index"]), found["results"][0]["document"] + "\n"]
