"""Say in GGUF's metadata keys what a Hugging Face folder's tokenizer files say.

Source: the `tokenizers` library's JSON format; llama.cpp's conversion scripts for keys and token types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacos.errors import FormatError, UnsupportedModel
from pacos.hub.hf_files import read_json, read_json_if_there
from pacos.hub.hf_splitters import splitter_name
from pacos.hub.hf_wordpiece import marked_words, wordpiece_metadata

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
TOKENS_MAX = 1 << 24
_UNNAMED_MAX = 1 << 18  # ids without a name, as padded embeddings have
_UNREACHABLE_SCORE = -1e9  # tokens that no merge makes
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_OTHER_FORMS = ("tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json", "tekken.json")
_SPECIAL = {
    **{"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"},
    **{"seperator": "sep_token", "cls": "cls_token", "mask": "mask_token"},  # spelled so in files
}


def tokenizer_metadata(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata under `tokenizer.`: vocabulary, merges or scores, special tokens, chat template.

    Errors: FormatError for damaged files; UnsupportedModel for a tokenizer of another kind.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return _without_tokenizer(folder, config)
    spec = read_json(path)
    settings = read_json_if_there(folder / "tokenizer_config.json")
    model = spec.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise FormatError(f"{path}: model.vocab is missing or no object")
    kind = model.get("type", "BPE")
    if kind not in ("BPE", "WordPiece"):
        raise UnsupportedModel(f"{path}: a {kind!a} tokenizer is not supported", hint="supported: BPE, WordPiece")
    tokens, types = _vocabulary(path, spec, config)
    special = _special_ids(tokens, config, settings, folder)
    if kind == "WordPiece":
        found_metadata = wordpiece_metadata(path, spec)
        tokens = marked_words(tokens, types)
    elif _is_byte_level(spec):
        found_metadata = _byte_level(path, spec)
    else:
        found_metadata = _sentencepiece(spec, tokens, types, special)
    metadata = {
        **_additions(spec, settings, special),
        **found_metadata,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        **{f"tokenizer.ggml.{name}_token_id": number for name, number in special.items()},
    }
    template = _chat_template(folder, settings)
    return {**metadata, "tokenizer.chat_template": template} if template else metadata


def _without_tokenizer(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """A folder of weights alone takes token ids; one with a tokenizer in another form is refused."""
    found = [name for name in _OTHER_FORMS if (folder / name).is_file()]
    size = config.get("vocab_size")
    if found or not isinstance(size, int) or not 1 < size < TOKENS_MAX:
        raise UnsupportedModel(
            f"{folder}: there is no tokenizer.json{f', only {found[0]}' if found else ''}",
            hint="save the tokenizer with transformers' AutoTokenizer(...).save_pretrained, which writes it",
        )
    tokens = [f"[PAD{number}]" for number in range(size)]
    return {
        "tokenizer.ggml.model": "no_vocab",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [UNUSED] * size,
    }


def _vocabulary(path: Path, spec: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Text and type of every id; ids that nothing names are unused."""
    named: dict[int, str] = {}
    types: dict[int, int] = {}
    added = [entry for entry in spec.get("added_tokens") or [] if isinstance(entry, dict)]
    for text, number in [
        *spec["model"]["vocab"].items(),
        *((entry.get("content"), entry.get("id")) for entry in added),
    ]:
        if not isinstance(text, str) or not isinstance(number, int) or not 0 <= number < TOKENS_MAX:
            raise FormatError(f"{path}: token {text!a} has the id {number!a}, needed: 0 to {TOKENS_MAX - 1}")
        named[number] = text
    for entry in added:
        types[entry["id"]] = CONTROL if entry.get("special") else USER_DEFINED
    size = config.get("vocab_size")
    count = max(max(named, default=-1) + 1, size if isinstance(size, int) else 0)
    if count > len(named) + _UNNAMED_MAX:
        raise FormatError(
            f"{path}: {len(named)} tokens are named, config.json speaks of {size!a}, ids go up to {count - 1}"
        )
    tokens = [named.get(number, f"[PAD{number}]") for number in range(count)]
    return tokens, [types.get(number, NORMAL if number in named else UNUSED) for number in range(count)]


def _is_byte_level(spec: Mapping[str, Any]) -> bool:
    parts = (spec.get("pre_tokenizer") or {}, spec.get("decoder") or {})
    steps = [one for part in parts for one in (part, *part.get("pretokenizers", ()), *part.get("decoders", ()))]
    return any(one.get("type") == "ByteLevel" for one in steps)


def _byte_level(path: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    merges = []
    for merge in spec["model"].get("merges") or []:
        parts = merge if isinstance(merge, list) else str(merge).split(" ")
        if len(parts) != 2 or not all(isinstance(part, str) and part and " " not in part for part in parts):
            raise FormatError(f"{path}: the merge {merge!a} is no pair of tokens")
        merges.append(f"{parts[0]} {parts[1]}")
    name = splitter_name(spec.get("pre_tokenizer") or {}, whole_words=bool(spec["model"].get("ignore_merges")))
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.merges": merges}


def _sentencepiece(
    spec: Mapping[str, Any], tokens: list[str], types: list[int], special: Mapping[str, int]
) -> dict[str, Any]:
    """SentencePiece's BPE as the `tokenizers` library writes it: a token's score is its merge's rank, negative."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(spec["model"].get("merges") or []):
        ranks.setdefault("".join(merge) if isinstance(merge, list) else str(merge).replace(" ", "", 1), rank)
    scores = [-float(ranks[token]) if token in ranks else _UNREACHABLE_SCORE for token in tokens]
    for number, token in enumerate(tokens):
        if token in _BYTES:
            types[number], scores[number] = BYTE, 0.0
    if "unknown" in special:
        types[special["unknown"]] = UNKNOWN
    normalizer = spec.get("normalizer") or {}
    splitter = spec.get("pre_tokenizer") or {}
    steps = [normalizer, *normalizer.get("normalizers", ()), splitter, *splitter.get("pretokenizers", ())]
    prefix = any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") in ("always", "first"))
        for step in steps
    )
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": prefix,
    }


def _special_ids(
    tokens: list[str], config: Mapping[str, Any], settings: Mapping[str, Any], folder: Path
) -> dict[str, int]:
    """Ids of the special tokens: named in tokenizer_config.json, or numbered in (generation_)config.json."""
    named = {**read_json_if_there(folder / "special_tokens_map.json"), **settings}
    generation = read_json_if_there(folder / "generation_config.json")
    by_text = {text: number for number, text in reversed(list(enumerate(tokens)))}
    found: dict[str, int] = {}
    for name, key in _SPECIAL.items():
        value = named.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str) and text in by_text:
            found[name] = by_text[text]
            continue
        numbers = _ids(generation.get(f"{key}_id")) or _ids(config.get(f"{key}_id"))
        if numbers and 0 <= numbers[0] < len(tokens):
            found[name] = numbers[0]
    ends = [*_ids(generation.get("eos_token_id")), *_ids(config.get("eos_token_id"))]
    others = [number for number in ends if number != found.get("eos") and 0 <= number < len(tokens)]
    if others:
        found["eot"] = others[-1] if len(others) == 1 else _turn_end(tokens, others)
    return found


def _turn_end(tokens: list[str], numbers: list[int]) -> int:
    """Of several more end tokens, the one that ends a turn by its name."""
    return next((n for n in numbers if any(word in tokens[n] for word in ("eot", "end_of_turn", "im_end"))), numbers[0])


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _additions(spec: Mapping[str, Any], settings: Mapping[str, Any], special: Mapping[str, int]) -> dict[str, Any]:
    """Whether the tokenizer puts a token at the beginning and at the end."""
    processor = spec.get("post_processor") or {}
    steps = [processor, *processor.get("processors", ())]
    single = next((step.get("single") or [] for step in steps if step.get("type") == "TemplateProcessing"), [])
    first = bool(single) and "SpecialToken" in single[0]
    last = bool(single) and "SpecialToken" in single[-1]
    given_first, given_last = settings.get("add_bos_token"), settings.get("add_eos_token")
    return {
        "tokenizer.ggml.add_bos_token": "bos" in special and (given_first if isinstance(given_first, bool) else first),
        "tokenizer.ggml.add_eos_token": "eos" in special and (given_last if isinstance(given_last, bool) else last),
    }


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    template = settings.get("chat_template")
    if isinstance(template, list):  # named templates; the default one counts
        by_name = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = by_name.get("default")
    return template if isinstance(template, str) else None
