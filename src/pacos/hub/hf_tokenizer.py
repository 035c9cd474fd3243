"""Say in GGUF's metadata keys what a Hugging Face folder's tokenizer files say.

Source: the `tokenizers` library's JSON format; llama.cpp's conversion scripts for keys and token types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.gguf_types import BYTE, CONTROL, UNKNOWN, USER_DEFINED
from pacos.formats.llama_files import numbers_alone
from pacos.hub import hf_sentencepiece
from pacos.hub.hf_files import read_json, read_json_if_there
from pacos.hub.hf_lists import plamo2_vocabulary, rwkv_vocabulary, wordpiece_list
from pacos.hub.hf_ranks import TIKTOKEN_FILES, merges_vocabulary, tekken_vocabulary, tiktoken_vocabulary
from pacos.hub.hf_special import special_metadata
from pacos.hub.hf_splitters import splitter_name
from pacos.hub.hf_unigram import unigram_vocabulary
from pacos.hub.hf_wordpiece import marked_words, wordpiece_metadata
from pacos.hub.vocabulary import TOKENS_MAX, Added, Vocabulary, added_tokens, numbered

_UNREACHABLE_SCORE = -1e9  # tokens that no merge makes
_PLACEHOLDER_SCORE = -1000.0
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_GEMMA4_SHOWN = (
    *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
    '<|"|>',
)
# The pre-tokenizer of classes that are saved as vocab.json and merges.txt.
_MERGES_CLASSES = {"GPT2Tokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2", "RobertaTokenizer": "roberta-bpe"}
_MERGES_CLASSES |= {"CodeGenTokenizer": "phi-2", "BartTokenizer": "roberta-bpe"}


def tokenizer_metadata(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata under `tokenizer.`: vocabulary, merges or scores, special tokens, chat template.

    Errors: FormatError for damaged files; UnsupportedModel for a tokenizer of another kind.
    """
    path = folder / "tokenizer.json"
    spec = read_json(path) if path.is_file() else None
    added = added_tokens(folder, spec)
    vocabulary = _from_other_files(folder, config, spec, added)
    if vocabulary is None and spec is None:
        return _without_tokenizer(folder, config)
    vocabulary = vocabulary or _from_json(path, spec or {}, added, config)
    if isinstance(config.get("type_vocab_size"), int):
        vocabulary.more["token_type_count"] = config["type_vocab_size"]
    special = special_metadata(folder, config, vocabulary.tokens, spec)
    if vocabulary.more["model"] == "bert":  # marked last, so that special tokens are found by their own names
        vocabulary.tokens = marked_words(vocabulary.tokens, vocabulary.types)
    return {**special, **vocabulary.metadata()}


def _from_other_files(
    folder: Path, config: Mapping[str, Any], spec: Mapping[str, Any] | None, added: list[Added]
) -> Vocabulary | None:
    """The vocabulary of a file that says more than tokenizer.json does, or stands alone."""
    for path in (folder / name for name in hf_sentencepiece.FILES):
        if path.is_file() and not is_ranks(path) and (spec is None or _is_sentencepiece(spec)):
            return hf_sentencepiece.sentencepiece_vocabulary(path, config, added)
    found = None if spec is not None else _from_lists(folder, config)
    if found is not None:
        found.place(added)
    return found


def _from_lists(folder: Path, config: Mapping[str, Any]) -> Vocabulary | None:
    if (folder / "tokenizer.jsonl").is_file():
        return plamo2_vocabulary(folder / "tokenizer.jsonl", config)
    for path in sorted(folder.glob("rwkv_vocab*.txt")):
        return rwkv_vocabulary(path, config)
    for name in TIKTOKEN_FILES:
        if (folder / name).is_file():
            return tiktoken_vocabulary(folder / name, config)
    if (folder / "tekken.json").is_file():
        return tekken_vocabulary(folder / "tekken.json")
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return merges_vocabulary(folder, config, _merges_splitter(folder))
    if (folder / "vocab.txt").is_file():
        return wordpiece_list(folder / "vocab.txt", config)
    return None


def is_ranks(path: Path) -> bool:
    """Whether the file is tiktoken's text; a protocol buffer of SentencePiece begins with a line break."""
    with path.open("rb") as file:
        return not file.read(1).startswith(b"\n")


def _is_sentencepiece(spec: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json stands for a SentencePiece model."""
    model = spec.get("model") or {}
    return model.get("type") == "Unigram" or (model.get("type", "BPE") == "BPE" and not _is_byte_level(spec))


def _merges_splitter(folder: Path) -> str:
    name = read_json_if_there(folder / "tokenizer_config.json").get("tokenizer_class", "GPT2Tokenizer")
    pre = _MERGES_CLASSES.get(str(name).removesuffix("Fast"))
    if pre is None:
        raise UnsupportedModel(
            f"{folder}: how {name!a} cuts text is not in its files",
            hint="save it with transformers' AutoTokenizer(...).save_pretrained, which writes tokenizer.json",
        )
    return pre


def _without_tokenizer(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """A folder of weights alone takes token ids; one with a tokenizer in another form is refused."""
    found = [name for name in ("vocab.json", "merges.txt", "tokenizer_config.json") if (folder / name).is_file()]
    size = config.get("vocab_size")
    if found or not isinstance(size, int) or not 1 < size < TOKENS_MAX:
        raise UnsupportedModel(
            f"{folder}: there is no tokenizer.json{f', only {found[0]}' if found else ''}",
            hint="save the tokenizer with transformers' AutoTokenizer(...).save_pretrained, which writes it",
        )
    return numbers_alone(size)


def _from_json(path: Path, spec: Mapping[str, Any], added: list[Added], config: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a tokenizer.json."""
    model = spec.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise FormatError(f"{path}: model.vocab is missing or no object")
    kind = model.get("type", "BPE")
    if kind not in ("BPE", "WordPiece", "Unigram"):
        hint = "supported: BPE, Unigram, WordPiece"
        raise UnsupportedModel(f"{path}: a {kind!a} tokenizer is not supported", hint=hint)
    if kind == "Unigram":
        vocabulary = unigram_vocabulary(path, spec, config.get("vocab_size"))
        vocabulary.place((one for one in added if not vocabulary.is_unknown(one)), score=None)
        return vocabulary
    if not isinstance(model["vocab"], dict):
        raise FormatError(f"{path}: model.vocab is a list, needed: an object")
    named = [*model["vocab"].items(), *((one.text, one.number) for one in added)]
    vocabulary = numbered(path, named, config.get("vocab_size"))
    vocabulary.place(added)
    if kind == "WordPiece":
        vocabulary.more |= wordpiece_metadata(path, spec)
    elif _is_byte_level(spec):
        vocabulary.merges = _merges(path, model)
        name = splitter_name(
            spec.get("pre_tokenizer") or {},
            whole_words=bool(model.get("ignore_merges")),
            pairs=(spec.get("post_processor") or {}).get("type") == "RobertaProcessing",
        )
        vocabulary.more |= {"model": "gpt2", "pre": name}
    elif str((config.get("architectures") or [""])[0]).startswith("Gemma4"):
        _make_gemma4(path, model, vocabulary)
    else:
        _make_sentencepiece(spec, vocabulary)
    return vocabulary


def _is_byte_level(spec: Mapping[str, Any]) -> bool:
    parts = (spec.get("pre_tokenizer") or {}, spec.get("decoder") or {})
    steps = [one for part in parts for one in (part, *part.get("pretokenizers", ()), *part.get("decoders", ()))]
    return any(one.get("type") == "ByteLevel" for one in steps)


def _merges(path: Path, model: Mapping[str, Any]) -> list[str]:
    merges = []
    for merge in model.get("merges") or []:
        parts = merge if isinstance(merge, list) else str(merge).split(" ")
        if len(parts) != 2 or not all(isinstance(part, str) and part and " " not in part for part in parts):
            raise FormatError(f"{path}: the merge {merge!a} is no pair of tokens")
        merges.append(f"{parts[0]} {parts[1]}")
    return merges


def _mark_bytes(vocabulary: Vocabulary) -> None:
    for number, token in enumerate(vocabulary.tokens):
        if token in _BYTES:
            vocabulary.types[number] = BYTE


def _make_gemma4(path: Path, model: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    """Gemma 4: ranked merges of plain UTF-8."""
    vocabulary.merges = _merges(path, model)
    vocabulary.scores = [_PLACEHOLDER_SCORE] * len(vocabulary.tokens)
    _mark_bytes(vocabulary)
    for token in _GEMMA4_SHOWN:  # readers of the raw output need them
        if token in vocabulary.tokens:
            vocabulary.types[vocabulary.tokens.index(token)] = USER_DEFINED
    vocabulary.more |= {"model": "gemma4", "add_space_prefix": False, "add_bos_token": True}


def _make_sentencepiece(spec: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    """SentencePiece's BPE as the `tokenizers` library writes it: a token's score is its merge's rank, negative."""
    model = spec["model"]
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model.get("merges") or []):
        ranks.setdefault("".join(merge) if isinstance(merge, list) else str(merge).replace(" ", "", 1), rank)
    vocabulary.scores = [-float(ranks[token]) if token in ranks else _UNREACHABLE_SCORE for token in vocabulary.tokens]
    _mark_bytes(vocabulary)
    for number, token in enumerate(vocabulary.tokens):
        if token in _BYTES:
            vocabulary.scores[number] = 0.0
    unknown = model.get("unk_token")
    if unknown in vocabulary.tokens and vocabulary.types[vocabulary.tokens.index(unknown)] == CONTROL:
        vocabulary.types[vocabulary.tokens.index(unknown)] = UNKNOWN
    normalizer, splitter = spec.get("normalizer") or {}, spec.get("pre_tokenizer") or {}
    steps = [normalizer, *normalizer.get("normalizers", ()), splitter, *splitter.get("pretokenizers", ())]
    prefix = any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") in ("always", "first"))
        for step in steps
    )
    vocabulary.more |= {"model": "llama", "pre": "default", "add_space_prefix": prefix}
