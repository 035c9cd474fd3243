"""Time encoding of text by every kind of tokenizer, against llama.cpp and the library `tokenizers`.

    python bench/encode.py FOLDER TEXT --train                       train vocabularies on the text (once)
    python bench/encode.py FOLDER TEXT --peer PYTHON [--kinds bpe]   time them, one thread each

The text is cut into pieces of `--piece-bytes`, as prompts are. Prints a row for each kind.
Units: megabytes of text per second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from pacos.formats import open_archive
from pacos.formats.gguf_write import write_gguf
from pacos.hub.hf_tokenizer import tokenizer_metadata
from pacos.hub.sentencepiece_model import read_sentencepiece
from pacos.text.splitters import find_splitter
from pacos.text.tokenizer import Tokenizer

SIZES = {"bpe": 50000, "wordpiece": 20000, "sentencepiece": 32000, "unigram": 32000}


def train_bpe(lines: list[str], folder: Path) -> None:
    """Byte-level merges of Qwen 2's words."""
    made = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(find_splitter("qwen2").expressions[0]), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=SIZES["bpe"], initial_alphabet=alphabet))
    made.save(str(folder / "tokenizer.json"))


def train_wordpiece(lines: list[str], folder: Path) -> None:
    """BERT's way."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=SIZES["wordpiece"], special_tokens=marks))
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.save(str(folder / "tokenizer.json"))


def train_sentencepiece(kind: str, lines: list[str], folder: Path) -> None:
    """SentencePiece's own trainer; the library's file is made from its model."""
    import sentencepiece

    is_bpe = kind == "sentencepiece"
    options = {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    with (folder / "spiece.model").open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            vocab_size=SIZES[kind],
            model_type="bpe" if is_bpe else "unigram",
            hard_vocab_limit=False,
            minloglevel=2,
            **(options if is_bpe else {}),
        )
    model = read_sentencepiece(folder / "spiece.model")
    pieces = [token.decode() for token in model.tokens]
    scored = list(zip(pieces, model.scores, strict=True))
    if is_bpe:
        made = tokenizers.Tokenizer(models.BPE(*_merges(scored), unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made = tokenizers.Tokenizer(models.Unigram(scored, pieces.index("<unk>")))
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        made.normalizer = normalizers.Sequence([normalizers.Precompiled(model.charsmap), spaces])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.save(str(folder / "library.json"))


def _merges(scored: list[tuple[str, float]]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids and ranked merges that do what merging by score does."""
    ids = {piece: number for number, (piece, _) in enumerate(scored)}
    rules = [
        (-score, ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece, score in scored[259:]
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    return ids, [rule[3:] for rule in sorted(rules)]


def prepare(root: Path, text: str) -> None:
    """Train every kind and write its vocabulary as GGUF."""
    lines = [line for line in text.split("\n") if line.strip()]
    for kind in SIZES:
        folder = root / kind
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "bpe":
            train_bpe(lines, folder)
        elif kind == "wordpiece":
            train_wordpiece(lines, folder)
        else:
            train_sentencepiece(kind, lines, folder)
        metadata = tokenizer_metadata(folder, {})
        write_gguf(folder / "vocabulary.gguf", {"general.architecture": "llama", **metadata}, [])


def best(work: Callable[[], Any], rounds: int = 2) -> tuple[float, Any]:
    """The shortest time of a few, and what came of it."""
    shortest, result = 1e9, None
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest, result


def measure(folder: Path, pieces: list[str], peer: str | None) -> dict[str, Any]:
    """Times of the three, and how many pieces the library cuts otherwise."""
    start = time.perf_counter()
    ours = Tokenizer.from_metadata(open_archive(folder / "vocabulary.gguf").metadata)
    opened = time.perf_counter() - start
    mine, ids = best(lambda: [ours.encode(piece, add_special=False) for piece in pieces])
    found: dict[str, Any] = {"open_ms": round(1000 * opened, 1), "pacos_s": mine, "tokens": sum(map(len, ids))}
    name = "library.json" if (folder / "library.json").is_file() else "tokenizer.json"
    library = tokenizers.Tokenizer.from_file(str(folder / name))
    theirs, encodings = best(lambda: library.encode_batch_fast(pieces, add_special_tokens=False), 1)
    found["tokenizers_s"] = theirs
    found["other"] = sum(one != other.ids for one, other in zip(ids, encodings, strict=True))
    if peer:
        texts = folder / "texts.json"
        texts.write_text(json.dumps(pieces), encoding="utf-8")
        script = Path(__file__).with_name("peer_encode.py")
        command = [peer, str(script), str(folder / "vocabulary.gguf"), str(texts)]
        run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found |= {"llama_cpp_s": run["seconds"], "llama_cpp_tokens": run["tokens"]}
    return found


def main() -> None:
    """Train or measure, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--peer", help="Python with llama-cpp-python")
    parser.add_argument("--kinds", default=",".join(SIZES))
    parser.add_argument("--piece-bytes", type=int, default=4096)
    options = parser.parse_args()
    text = options.text.read_text(encoding="utf-8")
    if options.train:
        prepare(options.folder, text)
        return
    pieces = [text[at : at + options.piece_bytes] for at in range(0, len(text), options.piece_bytes)]
    megabytes = len(text.encode()) / 1e6
    for kind in options.kinds.split(","):
        found = measure(options.folder / kind, pieces, options.peer)
        speeds = {key[:-2]: round(megabytes / value, 2) for key, value in found.items() if key.endswith("_s")}
        rest = {key: value for key, value in found.items() if not key.endswith("_s")}
        print(kind, json.dumps({**speeds, **rest}), flush=True)


if __name__ == "__main__":
    main()
