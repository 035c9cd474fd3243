"""The store: names and what they mean, imports, removal, pruning, verification, and what a name gives its model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from commands import PROGRAM, STORYTELLER, here
from gguf_builder import two_tensors

from pacos.errors import FormatError, ModelNotFound, UsageError
from pacos.hub import bring_in, hub_cache, upkeep
from pacos.hub.entries import Entry, entry_path, find_entry, read_entry, write_entry
from pacos.hub.names import find, find_name, resolve
from pacos.hub.naming import alias, copy
from pacos.hub.spelling import HubName, checked_name, hub_name, quant_of, relative_path, shard_of
from pacos.hub.store import Store
from pacos.llm import load
from pacos.settings import places

COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "shared"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def in_hub(repo: str, file: str, content: bytes | None = None, root: Path | None = None) -> Path:
    """A file of a repository, as if it had been pulled."""
    content = bytes(two_tensors()) if content is None else content
    folder = hub_cache.repo_folder(root or places.hub_folder(), repo)
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    hub_cache.write_ref(folder, "main", COMMIT)
    return hub_cache.link_in(folder, COMMIT, file, blob)


def test_every_way_to_name_a_model_of_a_repository() -> None:
    four, eight = in_hub("org/tale", "tale-Q4_K_M.gguf"), in_hub("org/tale", "tale-Q8_0.gguf", b"GGUF eight")
    for text in ("org/tale", "ORG/Tale:q4_k_m", "org/tale/tale-Q4_K_M.gguf", "hf.co/org/tale", "tale-Q4_K_M.gguf"):
        assert resolve(text) == four, text
    assert resolve("org/tale:Q8_0") == resolve("tale-Q8_0") == resolve("org/tale:tale-Q8_0.gguf") == eight
    with pytest.raises(ModelNotFound, match=r"it has org/tale:Q4_K_M, org/tale:Q8_0.*pacos pull org/tale:Q2_K"):
        resolve("org/tale:Q2_K")
    with pytest.raises(ModelNotFound, match=r"`pacos pull org/other` downloads it"):
        resolve("org/other")


def test_half_a_split_model_is_no_model() -> None:
    first = in_hub("org/big", "Q4_0/big-Q4_0-00001-of-00002.gguf", b"one")
    with pytest.raises(ModelNotFound):
        resolve("org/big")
    in_hub("org/big", "Q4_0/big-Q4_0-00002-of-00002.gguf", b"two")
    assert resolve("org/big:Q4_0") == first
    assert find("org/big").bytes == 6


def test_names_are_found_from_near_ones_and_never_lead_round_in_circles() -> None:
    alias("small", "storyteller")
    assert resolve("small") == resolve("SMALL") == resolve("small:latest") == STORYTELLER
    with pytest.raises(ModelNotFound, match="did you mean small"):
        resolve("smalll")
    write_entry(Entry("a", model="b"))
    write_entry(Entry("b", model="a"))
    with pytest.raises(ModelNotFound, match="stands for itself"):
        resolve("a")
    assert "a" not in {model.name for model in Store().models()}
    with pytest.raises(UsageError, match="would stand for itself"):
        alias("c", "C")
    assert find_name("/etc/passwd") is None
    assert find_name("../x.gguf") is None


BAD_NAMES = ("", "a" * 201, "..", "a/../b", "con", "a/nul.txt", "a:b:c", "a b", "x\n", "ä", "a/", "/a", "~a", "a\0", 7)


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_what_may_be_no_name(name: object) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        checked_name(name)


BAD_FILES = (
    *("", "/etc/x", "..", "a/../b", "a/..", "./a", "a//b", "C:\\x", "D:x", "\\x", "\\\\host\\s", "a\\..\\b"),
    *("a\0b", "a\nb", "a.", "a ", "CON", "x/NUL.txt", "COM1", "a:stream", "ü" * 200, "/".join("a" * 41)),
    *(".git/hooks/x", "~/x", "~root/x"),
    *("a\uff0e\uff0e/b", "a\u2215..\u2215b", "\uff0e\uff0e/b", "a\u202eb"),
)


@pytest.mark.parametrize("name", BAD_FILES, ids=ascii)
def test_file_names_from_elsewhere_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not safe"):
        relative_path(name)


def test_what_file_names_tell() -> None:
    assert relative_path("UD-Q4_K_XL/größe_1.gguf") == "UD-Q4_K_XL/größe_1.gguf"
    assert quant_of("m-UD-Q4_K_XL-00001-of-00003.gguf") == "UD-Q4_K_XL"
    assert quant_of("BF16/m-00001-of-00002.gguf") == "BF16"
    assert [quant_of(f"m.{q}.gguf") for q in ("iq2_xxs", "f16", "MXFP4_MOE", "model")] == [
        "IQ2_XXS",
        "F16",
        "MXFP4_MOE",
        "",
    ]
    assert shard_of("m-00002-of-00003") == ("m", 2, 3)
    assert hub_name("hf.co/a/b:Q4_0") == HubName("a/b", "Q4_0")
    assert hub_name("a/b/c/d.gguf") == HubName("a/b", file="c/d.gguf")
    assert [hub_name(text) for text in ("a", "/a/b", "a/b:", "a/../b", "a b/c")] == [None] * 5


def test_import_uses_a_file_in_place_or_copies_it(home: Path) -> None:
    file = two_tensors().save(home.parent, "My Model.gguf")
    done = here("import", file, "--json")
    assert done.data == [{"name": "My-Model", "path": str(file)}]
    assert here("import", file).code == 2, "the name is taken"
    assert here("import", file, "--alias", "own:1", "--copy").code == 0
    own = find("own:1")
    assert own.owned
    assert own.path.read_bytes() == file.read_bytes()
    assert {row["name"] for row in here("list", "--json").data} == {"My-Model", "own:1", "storyteller"}
    file.unlink()
    assert {row["name"] for row in here("ls", "--json").data} == {"own:1", "storyteller"}
    with pytest.raises(ModelNotFound, match="is gone") as gone:
        find("My-Model")
    assert "import it again" in str(gone.value.hint)
    assert here("rm", "My-Model", "own:1").code == 0
    assert not own.path.parent.exists()


def test_what_is_no_model_is_not_imported(home: Path) -> None:
    (home.parent / "bad.gguf").write_bytes(b"GGUF and no more")
    assert here("import", "bad.gguf").code == 3
    assert here("import", "ollama").code == 3
    for word, near in (("lmstudio", "lm-studio"), ("LM_Studio", "lm-studio"), ("huggingfce", "huggingface")):
        assert here("import", word).err == f"error: no model file or folder {word}; did you mean {near}?\n"
    assert here("import", "nothing.gguf").code == 3
    assert "both given" in here("import", STORYTELLER, "--copy", "--link").err
    assert not places.names_folder().exists()


def ollama_cache(folder: Path, weights: bytes) -> None:
    """Ollama's folder with one model."""
    layers = {
        "model": weights,
        "params": b'{"temperature": 0.1, "stop": ["<end>"], "num_gpu": 1}',
        "system": b"Be brief.",
    }
    layers |= {"template": b"<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n", "license": b"Free."}
    listed = []
    (folder / "blobs").mkdir(parents=True)
    for kind, content in layers.items():
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        kind = f"application/vnd.ollama.image.{kind}"
        listed.append({"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)})
    manifest = folder / "manifests" / "registry.example" / "library" / "tale" / "1b"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))


def test_caches_of_other_programs_are_used_in_place(home: Path) -> None:
    ollama_cache(home.parent / "ollama", STORYTELLER.read_bytes())
    studio = home.parent / "studio" / "org" / "tale-GGUF"
    studio.mkdir(parents=True)
    two_tensors().save(studio, "tale-Q8_0.gguf")
    in_hub("org/hub", "hub-Q4_0.gguf", root=places.shared_hub_folder())
    for path in ("ollama", "studio", "huggingface"):
        done = here("import", path)
        assert done.code == 0, done.err
    assert {entry.name for entry in Store().entries} == {"tale:1b", "org/tale-GGUF:Q8_0", "org/hub:Q4_0"}
    tale = find("tale:1b")
    assert not tale.owned
    assert tale.path.parent == home.parent / "ollama" / "blobs"
    assert (tale.preset.options, tale.preset.template) == ({"temp": 0.1, "stop": ["<end>"]}, "chatml")
    assert (tale.preset.system, tale.preset.licence) == ("Be brief.", "Free.")
    assert here("show", "tale:1b", "--license").out == "Free.\n"
    assert here("show", "tale:1b", "--json").data["name"]["options"]["temp"] == 0.1
    assert here("rm", "tale:1b").code == 0
    assert tale.path.exists(), "what is Ollama's stays"


def test_removing(home: Path) -> None:
    four = in_hub("org/tale", "tale-Q4_0.gguf")
    in_hub("org/tale", "twin-Q8_0.gguf")  # the same content
    copy("org/tale:Q4_0", "mine", replace=False)
    with pytest.raises(UsageError, match="mine stand for"):
        upkeep.remove("org/tale:Q4_0")
    assert upkeep.remove("org/tale:Q4_0", force=True) == 0, "the other file needs the content"
    assert not four.exists()
    assert upkeep.remove("org/tale") > 0
    assert not hub_cache.repos(places.hub_folder())
    for name in ("org/tale", "nothing", "../home"):
        with pytest.raises(ModelNotFound):
            upkeep.remove(name)
    with pytest.raises(UsageError, match="storyteller is a bundled model"):
        upkeep.remove("storyteller")


def test_what_is_gone_is_pulled_again_under_its_name(home: Path) -> None:
    write_entry(Entry("mine", path="files/mine/mine.gguf", source="https://example.com/m.gguf"))
    done = here("run", "mine", "-p", "x")
    assert done.code == 3
    assert "`pacos pull https://example.com/m.gguf --alias mine --force` gets it again" in done.err


def test_defaults_that_are_none_are_not_ignored(home: Path) -> None:
    for options, said in (({"temperature": 0.1}, "did you mean 'temp'?"), ({"temp": "x"}, "use a number")):
        write_entry(Entry("edited", model="storyteller", options=options))
        done = here("run", "edited", "-p", "x")
        assert done.code == 3
        assert said in done.err
        assert "the defaults of the name edited" in here("verify").out
        assert "warning: the defaults of the name edited" in here("list").err


def test_types_in_the_list_are_what_files_say(home: Path) -> None:
    file = home.parent / "a-Q4_K_M.gguf"
    file.write_bytes(STORYTELLER.read_bytes())
    silent = two_tensors().save(home.parent, "b-Q5_K_M.gguf")
    for path in (file, silent):
        assert here("import", path).code == 0
    types = {row["name"]: row["type"] for row in here("list", "--json").data}
    assert types == {"a-Q4_K_M": "Q8_0", "b-Q5_K_M": "Q5_K_M", "storyteller": "Q8_0"}


def test_a_list_needs_a_standard_output(home: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "list"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr


def test_two_names_share_files_until_the_last_goes(home: Path) -> None:
    here("import", STORYTELLER, "--copy", "--alias", "one")
    copy("one", "two", replace=False)
    path = find("two").path
    assert upkeep.remove("one") == 0
    assert path.exists()
    assert upkeep.remove("two") == STORYTELLER.stat().st_size
    assert not path.exists()


def test_prune_removes_what_nothing_needs_and_is_old(home: Path) -> None:
    in_hub("org/tale", "tale-Q4_0.gguf")
    blobs = hub_cache.repo_folder(places.hub_folder(), "org/tale") / "blobs"
    (blobs / ("a" * 64 + ".incomplete")).write_bytes(b"half")
    (blobs / ("b" * 64)).write_bytes(b"nobody's")
    write_entry(Entry("fine", model="org/tale"))
    (places.names_folder() / "bad.json").write_text("{")
    (blobs / ("d" * 64)).write_bytes(b"young")
    for path in blobs.iterdir():
        if not path.name.startswith("d"):
            os.utime(path, (time.time() - 7200,) * 2)
    listed = here("prune", "--dry-run", "--json").data
    assert sorted(Path(one["path"]).name[:3] for one in listed) == ["aaa", "bad", "bbb"]
    assert here("prune").code == 0
    assert here("prune", "--json").data == []
    assert resolve("fine").exists()
    assert (blobs / ("d" * 64)).exists()


def test_verify_tells_and_repairs(home: Path) -> None:
    link = in_hub("org/tale", "tale-Q4_0.gguf")
    here("import", STORYTELLER, "--copy", "--alias", "own")
    assert here("verify").out.startswith("all is well")
    blob = Path(os.path.realpath(link))
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    bad = here("verify")
    assert bad.code == 3
    assert "`pacos pull org/tale/tale-Q4_0.gguf` gets it again" in bad.out
    assert here("verify", "own").code == 0
    repaired = here("verify", "--repair", "--json")
    assert [one["repaired"] for one in repaired.data] == [True]
    assert here("verify").code == 0
    with pytest.raises(ModelNotFound):
        resolve("org/tale")
    find("own").path.write_bytes(b"GGUF")
    assert here("verify", "own").code == 3
    assert here("verify", "none").code == 3


DAMAGED = ("", "[]", "{", '{"name": "x"}', '{"name": "x", "path": "a", "model": "b"}', '{"name": 3, "path": "a"}')
DAMAGED += ('{"name": "x", "path": "a", "extra": 1}', '{"name": "../x", "path": "a"}', "[" * 100_000, "\ufeff{}")


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_names_are_told_and_harm_nothing_else(text: str) -> None:
    alias("good", "storyteller")
    path = entry_path("bad")
    path.write_text(text)
    with pytest.raises(FormatError, match="damaged"):
        read_entry(path)
    listed = here("list", "--json")
    assert listed.code == 0
    assert {row["name"] for row in listed.data} == {"good", "storyteller"}
    assert "damaged" in listed.err
    assert here("verify").code == 3


def test_a_home_that_is_a_file(home: Path) -> None:
    home.write_text("")
    assert here("list").code == 0
    done = here("import", STORYTELLER, "--alias", "mine")
    assert done.code == 2
    assert "PACOS_HOME" in done.err


def test_what_a_name_gives_by_default_holds_unless_something_else_is_said(home: Path) -> None:
    start = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"})
    options = {"temp": 0.0, "n_predict": 3, "ctx_size": 128}
    write_entry(
        Entry("tale", model="storyteller", options=options, system="Be brief.", template="chatml", messages=start)
    )
    write_entry(Entry("tale2", model="tale", options={"n_predict": 5}))
    with load("tale2") as llm:
        assert llm.context_tokens == 128
        assert llm.generate("Once").timings.generated_tokens == 5
        assert llm.generate("Once", n_predict=2).timings.generated_tokens == 2
        text = llm.detokenize(llm.chat_tokens([{"role": "user", "content": "Now"}]), special=True)
        assert [text.count(part) for part in ("Be brief.", "Hi", "Ho", "Now", "<|im_start|>")] == [1, 1, 1, 1, 5]
        own = llm.chat_tokens([{"role": "system", "content": "Sing."}, {"role": "user", "content": "Now"}])
        assert "Be brief." not in llm.detokenize(own)
    with load("tale", ctx_size=64, chat_template="zephyr") as llm:
        assert llm.context_tokens == 64
        assert llm.template.name == "zephyr"
    assert len(here("run", "tale2", "-p", "Once", "--json").data["text"]) > 0
    assert here("run", "tale2", "-p", "Once", "--json", "-n", "1").data["timings"]["generated_tokens"] == 1
    assert here("run", "tale2", "-p", "Once", "--json").data["timings"]["generated_tokens"] == 5


def test_find_entry_knows_no_paths() -> None:
    assert find_entry("../../etc/passwd") is None
    assert bring_in.PROGRAMS == ("ollama", "lm-studio", "huggingface")
