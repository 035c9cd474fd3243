"""The other commands: tokenize, perplexity, bench, convert, quantize, show, version, help."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PROGRAM, STORYTELLER, Outcome, environment, here, program
from models.tiny import CASES, write_folder
from shared_files import shared

from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import TensorData, write_gguf

TEXT = "Once upon a time there was a little dragon. " * 40


def good(*arguments: object, **given: str) -> Outcome:
    done = here(*arguments, **given)
    assert (done.code, done.err) == (0, "")
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder("llama", tmp_path_factory.mktemp("models") / "tiny-hf")


@pytest.fixture(scope="module")
def float_file(folder: Path) -> Path:
    path = folder.parent / "tiny-f32.gguf"
    assert here("convert", folder, path, "--outtype", "f32").code == 0
    return path


def test_tokens_and_back() -> None:
    ids = good("tokenize", "storyteller", "Once upon a time").out
    found = good("tokenize", "storyteller", "Once upon a time", "--json").data
    assert found["token_ids"] == [int(word) for word in ids.split()]
    assert (
        found["count"]
        == len(found["pieces"])
        == int(good("tokenize", "storyteller", "Once upon a time", "--count").out)
    )
    assert "".join(found["pieces"]) == "Once upon a time"
    assert good("tokenize", "storyteller", "--decode", ids.strip()).out == "Once upon a time\n"
    assert good("tokenize", "storyteller", "--decode", stdin=str(found["token_ids"])).out == "Once upon a time\n"


def test_tokens_of_a_file_and_of_special_names(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("<|im_start|>")
    plain = good("tokenize", "storyteller", "-f", file, "--json").data
    special = good("tokenize", "storyteller", "--parse-special", stdin="<|im_start|>").out
    assert plain["count"] > 1
    assert special == "1\n"
    assert good("tokenize", "storyteller", "--decode", "1").out == "<|im_start|>\n"


def test_tokens_that_are_none() -> None:
    assert here("tokenize", "storyteller", "--decode", "99999").code == 2
    assert "not a list of token ids" in here("tokenize", "storyteller", "--decode", "one two").err
    assert "given twice" in here("tokenize", "storyteller", "text", "-f", "file").err


def test_a_vocabulary_alone_can_be_tokenized_with() -> None:
    path = shared("vocab/ggml-vocab-llama-spm.gguf")
    assert good("tokenize", path, "Hello there").out == "1 15043 727\n"
    assert good("tokenize", path, "Hello there", "--json").data["pieces"] == ["<s>", " Hello", " there"]
    assert "vocabulary alone" in good("show", path).out
    assert here("run", path, "-p", "x").code == 3


def test_perplexity_is_that_of_the_scores() -> None:
    found = good("perplexity", "storyteller", "-f", "-", "-c", "64", "--json", stdin=TEXT).data
    assert found["perplexity"] == pytest.approx(math.exp(found["mean_nll"]))
    assert found["tokens_scored"] == found["chunks"] * 31
    assert 1 < found["perplexity"] < 100
    one = good("perplexity", "storyteller", "-f", "-", "-c", "64", "--chunks", "1", stdin=TEXT).out
    assert "in 1 chunks of 64" in one


@pytest.mark.parametrize(
    ("more", "text", "words"),
    [
        (("-c", "3"), TEXT, "use --ctx-size 4 or more"),
        (("-c", "64"), "too short", "are too few; give a text of at least 64 tokens"),
        (("-c", "64", "--chunks", "0"), TEXT, "chunks"),
        (("-c", "64"), "", "are too few"),
    ],
)
def test_perplexity_of_nothing(more: tuple[str, ...], text: str, words: str) -> None:
    done = here("perplexity", "storyteller", "-f", "-", *more, stdin=text)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_perplexity_agrees_with_llama_cpp() -> None:
    model, text = shared("models/stories260K.gguf"), shared("text/wiki.test.raw")
    found = good("perplexity", model, "-f", text, "-c", "256", "--chunks", "40", "--json").data
    assert found["perplexity"] == pytest.approx(92.35, rel=0.002)
    assert found["chunks"] == 40


def test_a_random_model_runs(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    assert here("bench", path, "--make", "tiny", "--make-type", "q4_k_m").code == 0
    found = good("run", path, "-p", "Hello", "-n", "5", "--temp", "0", "--ignore-eos", "--json").data
    assert found["timings"]["generated_tokens"] == 5
    assert here("bench", tmp_path / "x.gguf", "--make", "enormous").code == 2
    assert "exists" in here("bench", path, "--make", "tiny").err


def test_converting_and_quantizing_keep_the_model(folder: Path, float_file: Path, tmp_path: Path) -> None:
    greedy = ("--raw", "-p", "Hello", "-n", "8", "--temp", "0", "--json")
    direct = here("run", folder, *greedy)  # its tokenizer earns a warning
    assert direct.code == 0
    assert here("run", float_file, *greedy).data["token_ids"] == direct.data["token_ids"]
    small = tmp_path / "tiny-q8_0.gguf"
    done = here("quantize", float_file, small, "q8_0")
    assert (done.code, done.out) == (0, "")
    assert small.stat().st_size < float_file.stat().st_size / 3
    assert good("show", small, "--json").data["weights"]["file_type"] == "Q8_0"
    assert here("run", small, *greedy).data["finish_reason"] in {"length", "stop"}


def test_existing_files_are_kept(folder: Path, float_file: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.gguf"
    there.write_bytes(b"precious")
    assert "--force" in here("convert", folder, there).err
    assert "--force" in here("quantize", float_file, there, "q8_0").err
    assert there.read_bytes() == b"precious"
    assert here("quantize", float_file, there, "q8_0", "--force").code == 0
    assert "no folder" in here("convert", folder, tmp_path / "none" / "x.gguf").err
    assert here("quantize", float_file, float_file, "q8_0", "--force").code == 2
    assert here("quantize", float_file, tmp_path / "x.gguf", "q17").code == 2
    assert here("convert", folder, tmp_path / "x.gguf", "--outtype", "q17").code == 2
    assert here("quantize", tmp_path / "missing.gguf", tmp_path / "x.gguf", "q8_0").code == 3
    assert "`pacos convert` makes one" in here("quantize", folder, tmp_path / "x.gguf", "q8_0").err
    missing = here("convert", "storytelle", tmp_path / "x.gguf")
    assert missing.code == 3
    assert "did you mean storyteller" in missing.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.gguf"]


def test_show_tells_what_is_there() -> None:
    found = good("show", "storyteller", "--json").data
    assert found["model"]["architecture"] == "llama"
    assert found["model"]["context_tokens"] == 1024
    assert "problem" not in found["model"]
    assert found["file"]["bytes"] == STORYTELLER.stat().st_size
    assert found["tokenizer"]["chat_template"] == "chatml"
    assert sum(one["tensors"] for one in found["weights"]["types"].values()) == found["weights"]["tensors"]
    text = good("show", "storyteller").out
    for word in ("llama", "1024 tokens", "chatml", "licence", "Q8_0"):
        assert word in text


def test_show_lists_parts() -> None:
    found = good("show", "storyteller", "--json", "--tensors", "--metadata", "--template", "--plan").data
    assert len(found["tensors"]) == found["weights"]["tensors"]
    assert found["metadata"]["general.architecture"] == "llama"
    assert good("show", "storyteller", "--plan").out == found["plan"]
    assert found["plan"].startswith("plan llama: ")
    assert good("show", "storyteller", "--template").out.strip() == found["template"].strip()
    assert good("show", "storyteller", "--tensors").out.count("\n") == len(found["tensors"]) + 1
    assert "general.architecture" in good("show", "storyteller", "--metadata").out


def test_show_of_what_cannot_run(tmp_path: Path) -> None:
    alien = tmp_path / "alien.gguf"
    metadata = {"general.architecture": "alien", "alien.block_count": 7, "general.name": "A\x1b[31mB"}
    write_gguf(alien, metadata, [TensorData("x", (2, 256), "IQ4_XS", bytes(272))])
    text = good("show", alien).out
    for words in ("architecture 'alien' is not supported", "layers           7", "IQ4_XS", "A\\x1b[31mB"):
        assert words in text
    assert "\x1b" not in text + good("show", alien, "--metadata").out
    assert here("show", alien, "--plan").code == 3
    assert "has no chat template" in here("show", alien, "--template").err


def test_show_of_a_type_without_kernels(float_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    rewrite_one(float_file, path, "blk.0.attn_q.weight", "Q8_1")
    assert "Q8_1" in good("show", path, "--json").data["model"]["problem"]
    done = here("run", path, "-p", "x")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "Q8_1" in done.err


def rewrite_one(source: Path, target: Path, name: str, kind: str) -> None:
    with read_gguf(source) as archive:
        tensors = [
            TensorData(one.name, one.shape, one.type, archive.data(one.name))
            if one.name != name
            else TensorData(name, one.shape, kind, bytes(one.shape[0] * one.shape[1] // 32 * 36))
            for one in archive.tensors.values()
        ]
        write_gguf(target, archive.typed_metadata(), tensors)


def test_show_of_folders(folder: Path, tmp_path: Path) -> None:
    assert good("show", folder, "--json").data["model"]["layers"] == CASES["llama"].config["num_hidden_layers"]
    alien = tmp_path / "alien-hf"
    alien.mkdir()
    for file in folder.iterdir():
        text = file.read_bytes()
        (alien / file.name).write_bytes(text.replace(b"LlamaForCausalLM", b"AlienForCausalLM"))
    found = good("show", alien, "--json").data
    assert "AlienForCausalLM" in found["model"]["problem"]
    assert found["model"]["width"] == 256
    assert found["weights"]["tensors"] > 10


def test_without_numpy_what_needs_it_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['numpy'] = None; from pacos.cli.main import main\n"
        f"main(['bench', {str(tmp_path / 'x.gguf')!r}, '--make', 'tiny'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=60, text=True)
    assert done.returncode == 1
    assert done.stderr == 'error: this needs numpy, which is not installed; pip install "pacos[numpy]"\n'
    assert list(tmp_path.iterdir()) == []


def test_versions_and_help() -> None:
    found = good("version", "--json").data
    assert set(found) >= {"pacos", "python", "backends", "instruction_set"}
    assert found["pacos"] in good("version").out
    assert good("--version").out == f"pacos {found['pacos']}\n"
    assert good("help", "run").out == good("run", "--help").out
    assert good("help").out == good("--help").out == good().out
    assert "no command 'frob'; `pacos help` lists them" in here("help", "frob").err
    assert "did you mean show" in here("shwo").err.lower()
    assert here("help", "nothing").code == 2


def test_options_that_are_near_come_nearest_first() -> None:
    for line, words in (
        ("run --tmp 3", "No such option '--tmp'; did you mean --temp or "),
        ("run --top-kk 3", "No such option '--top-kk'; did you mean --top-k or "),
        ("serve --hosst x", "No such option '--hosst'; did you mean --host or "),
        ("run --zzzzzz", "No such option '--zzzzzz'; `pacos run --help` says more"),
    ):
        assert here(*line.split()).err.startswith(f"error: {words}"), line


def test_what_a_run_tells_stands_on_lines_of_its_own_in_a_log(tmp_path: Path) -> None:
    line = [*PROGRAM, "run", "-p", "Tell me a story.", "--temp", "0", "-n", "9"]
    for more in ("--timings", "--verbose"):
        with (tmp_path / "log").open("wb") as log:
            subprocess.run([*line, more], stdout=log, stderr=log, env=environment(), check=True, timeout=60)
        answer = next(one for one in (tmp_path / "log").read_text().split("\n") if one.startswith("Once upon"))
        alone = program(*line[3:], more)
        assert alone.out == answer
        assert not alone.err.startswith("\n")


def test_versions_are_told_without_a_native_library(tmp_path: Path) -> None:
    found = program("version", "--json", PACOS_NATIVE_LIBRARY=str(tmp_path / "none.so"))
    assert found.code == 0
    assert found.data["pacos"]
    assert "cannot load the native library" in found.data["fault"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tokenize", "storyteller", "--decode", "--count", "1"), "--count has no effect with --decode"),
        (("run", "--raw", "--chat-template", "chatml", "-p", "x"), "--chat-template and its like have no effect"),
        (("run", "", "-p", "x"), "name is empty"),
        (("run", "--rope-scaling", "none", "--rope-scale", "2"), "no effect"),
        (("run", "--rope-scale", "2", "--rope-freq-scale", "2"), "the same thing"),
        (("run", "--yarn-orig-ctx", "64"), "add --rope-scaling yarn"),
        (("run", "-p", "x", "--chat-template", "x" * 5000), "no chat template|cannot be read"),
        (("convert", STORYTELLER, "x.gguf"), "is a GGUF file already"),
    ],
)
def test_nothing_is_accepted_and_ignored(arguments: tuple[object, ...], said: str) -> None:
    done = here(*arguments)
    assert done.code == 2
    assert re.search(said, done.err)


def test_decoded_text_as_json() -> None:
    assert good("tokenize", "storyteller", "--decode", "--json", "74 75").data == {"text": "hi"}
