"""What the `tokenizer.ggml.*` keys say about single tokens: types, roles, ends; checked and corrected by name."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from pacos.errors import FormatError
from pacos.text import special_names
from pacos.text.native_vocabulary import MAX_PIECES, NativeVocabulary, PackedStrings

# GGUF's token types.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

_PREFIX = "tokenizer.ggml."
_ABSENT = {-1, 0xFFFFFFFF}  # how some converters write "there is none"
_BYTE_NAME = re.compile(r"<0x[0-9A-F]{2}>")
_STRIP_MASK = ("jina-v2-de", "jina-v2-es", "jina-v2-code")
_STRIP_MASK_ARCHITECTURES = ("nomic-bert-moe", "jina-bert-v3")
_PHI3_KEEPS = ("<unk>", "<s>", "<|endoftext|>")


def flag(metadata: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A true-or-false key of the tokenizer."""
    value = metadata.get(_PREFIX + name, default)
    if not isinstance(value, bool):
        raise FormatError(f"{_PREFIX}{name} is {value!r}, true or false is needed")
    return value


def read_pieces(metadata: Mapping[str, Any]) -> tuple[NativeVocabulary, array[int]]:
    """The vocabulary and the type of each token.

    Errors: FormatError for a missing or impossible array, and for byte tokens that name no byte.
    """
    tokens = metadata.get(_PREFIX + "tokens")
    if tokens is None:
        raise FormatError("the file has no tokenizer.ggml.tokens")
    packed = PackedStrings(_PREFIX + "tokens", tokens)
    if not 1 < packed.count < MAX_PIECES:
        raise FormatError(f"the vocabulary has {packed.count} tokens, between 2 and {MAX_PIECES - 1} are needed")
    types = _numbers(metadata, "token_type", packed.count, "i", "32-bit integers")
    _numbers(metadata, "scores", packed.count, "fi", "32-bit floats")
    native = NativeVocabulary(packed)
    kinds = types if types is not None else array("i", [NORMAL]) * packed.count
    native.set_types(kinds)
    for token in native.of_type(BYTE):
        name = native.text(token).decode("utf-8", "replace")
        if not _BYTE_NAME.fullmatch(name):
            raise FormatError(f"token {token} is a byte token called {name[:80]!r}, <0x00> to <0xFF> are allowed")
    return native, kinds


def _numbers(metadata: Mapping[str, Any], name: str, count: int, typecodes: str, what: str) -> array[int] | None:
    """A numeric array with one value for each token."""
    values = metadata.get(_PREFIX + name)
    if values is None:
        return None
    right_kind = values.typecode in typecodes if isinstance(values, array) else isinstance(values, (list, tuple))
    if not right_kind or any(isinstance(v, (str, bool)) for v in values[:1]):
        raise FormatError(f"{_PREFIX}{name} must be an array of {what}")
    if len(values) != count:
        raise FormatError(f"{_PREFIX}{name} has {len(values)} values for {count} tokens")
    try:
        return array(typecodes[0], values)
    except (TypeError, OverflowError):
        raise FormatError(f"{_PREFIX}{name} must be an array of {what}") from None


def finite_scores(metadata: Mapping[str, Any], native: NativeVocabulary) -> array[float]:
    """The score of each token. Errors: FormatError where they are missing, or one is no finite number."""
    scores = metadata.get(_PREFIX + "scores")
    if scores is None:
        raise FormatError("the file has no tokenizer.ggml.scores, which its kind of vocabulary goes by")
    values = array("f", scores)
    if not math.isfinite(sum(values)):
        for token, score in enumerate(values):
            if not math.isfinite(score):
                name = native.text(token).decode("utf-8", "replace")
                raise FormatError(f"the score of token {token} ({name[:80]!r}) is {score}")
    return values


def require_bytes(native: NativeVocabulary, *, all_of_them: bool) -> None:
    """Errors: FormatError when some of the tokens <0x00> to <0xFF> are missing, or all where they are needed."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    missing = [name for name in names if native.find(name) is None]
    if missing and (all_of_them or len(missing) < len(names)):
        raise FormatError(f"the vocabulary has {256 - len(missing)} of 256 byte tokens; {missing[0]} is missing")


def read_special(metadata: Mapping[str, Any], defaults: Mapping[str, int], size: int) -> dict[str, int]:
    """Ids by role: from the file, else the kind's defaults where the vocabulary is large enough.

    Errors: FormatError for an id outside the vocabulary.
    """
    special = {role: token for role, token in defaults.items() if token < size}
    for key, role in special_names.ROLES.items():
        token = metadata.get(_PREFIX + key)
        if token is None:
            continue
        if not isinstance(token, int) or isinstance(token, bool):
            raise FormatError(f"{_PREFIX}{key} is {token!r}, a token id is needed")
        if token in _ABSENT:
            special.pop(role, None)
        elif not 0 <= token < size:
            raise FormatError(f"{_PREFIX}{key} is {token}, ids of this vocabulary are 0 to {size - 1}")
        else:
            special[role] = token
    return special


def read_suppressed(metadata: Mapping[str, Any], size: int) -> tuple[int, ...]:
    """Ids that must never be generated. Errors: FormatError for one outside the vocabulary."""
    tokens = metadata.get(_PREFIX + "suppress_tokens", ())
    if not isinstance(tokens, Sequence | array):
        raise FormatError(f"{_PREFIX}suppress_tokens is {tokens!r}, a list of ids is needed")
    for token in tokens:
        if not isinstance(token, int) or not 0 <= token < size:
            raise FormatError(f"{_PREFIX}suppress_tokens holds {token!r}, ids of this vocabulary are 0 to {size - 1}")
    return tuple(tokens)


def settle_types(native: NativeVocabulary, types: array[int], special: dict[str, int]) -> frozenset[int]:
    """Find roles by name, correct the types of well-known markup, and return the ids that end generation.

    Changes `types` and `special`.
    """
    for role, names in special_names.BY_NAME.items():
        found = next((token for name in names if (token := native.find(name)) is not None), None)
        if role not in special and found is not None:
            special[role] = found
            types[found] = CONTROL
    ends: dict[int, str] = {}
    for name in special_names.ENDS:
        token = native.find(name)
        if token is not None:
            ends[token] = name
            types[token] = CONTROL
    for name in special_names.ALWAYS_SHOWN:
        token = native.find(name)
        if token is not None:
            types[token] = USER_DEFINED
    for role in special_names.ENDING_ROLES:
        token = special.get(role)
        if token is not None:
            ends.setdefault(token, native.text(token).decode("utf-8", "replace"))
    present = set(ends.values())
    by_name = {name: token for token, name in ends.items()}
    if "<|end|>" in present and any(group <= present for group in special_names.END_IS_INNER):
        types[by_name["<|end|>"]] = USER_DEFINED
        del ends[by_name["<|end|>"]]
    if "</s>" in present and any(name in present for name in special_names.S_IS_TEXT):
        types[by_name["</s>"]] = NORMAL
        del ends[by_name["</s>"]]
    return frozenset(ends)


def strips(metadata: Mapping[str, Any], native: NativeVocabulary, special: Sequence[int]) -> tuple[set[int], set[int]]:
    """Special tokens that swallow white space on their left, and those that do on their right.

    Files do not say so; it goes by the names of models that were trained that way.
    """
    pre = str(metadata.get(_PREFIX + "pre", ""))
    architecture = str(metadata.get("general.architecture", ""))
    model = str(metadata.get("general.name", "")).lower()
    found: dict[str, int | None] = {}
    if any(name in pre for name in _STRIP_MASK) or any(name in architecture for name in _STRIP_MASK_ARCHITECTURES):
        found["<mask>"] = native.find("<mask>")
    elif "phi-3" in model or "phi3" in model:
        kept = {native.find(name) for name in _PHI3_KEEPS}
        return set(), set(special) - kept
    elif "modern-bert" in model:
        found["[MASK]"] = native.find("[MASK]")
    return {token for token in found.values() if token is not None}, set()
