"""A vocabulary of SentencePiece's own file (tokenizer.model, spiece.model) in GGUF's words.

Source: llama.cpp's conversion for the keys; transformers' XLM-R tokenizer for its order of the first ids.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pacos.formats.gguf_types import CONTROL, UNKNOWN
from pacos.hub.hf_files import read_json_if_there
from pacos.hub.sentencepiece_model import SentencePieceModel, read_sentencepiece
from pacos.hub.vocabulary import Added, Vocabulary

FILES = (
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model"),
    *("tokenizer.model.v7", "tokenizer.model.v3", "tokenizer.model.v2", "tokenizer.model.v1"),  # Mistral's
)
_SHIFTED = "sentencepiece.bpe.model"  # the name that fairseq's models (XLM-R) have
_UNKNOWN_UNSAID = {"llama": 0, "t5": 2}  # what readers take it to be
_SHIFTED_HEAD = ("<s>", "<pad>", "</s>", "<unk>")


def sentencepiece_vocabulary(path: Path, config: Mapping[str, Any], added: Sequence[Added]) -> Vocabulary:
    """Pieces with scores, by the file's own kind: unigram or byte-pair; and the tokens added to them.

    Errors: those of `read_sentencepiece`.
    """
    model = read_sentencepiece(path)
    tokens = [token.decode("utf-8", "surrogateescape") for token in model.tokens]
    vocabulary = Vocabulary(path, tokens, list(model.types), list(model.scores))
    if path.name == _SHIFTED:
        head = len(_SHIFTED_HEAD)
        vocabulary.tokens[:3] = _SHIFTED_HEAD
        vocabulary.types[:3] = [CONTROL] * (head - 1) + [UNKNOWN]
        vocabulary.scores[:3] = [0.0] * head  # type: ignore[index]
    size = config.get("vocab_size_per_layer_input", config.get("vocab_size"))
    vocabulary.pad(size if isinstance(size, int) else 0)
    vocabulary.more |= _unigram_keys(model) if model.kind == "unigram" else _bpe_keys(path.parent, model)
    unknown = vocabulary.types.index(UNKNOWN) if UNKNOWN in vocabulary.types else None
    if unknown not in (None, _UNKNOWN_UNSAID[vocabulary.more["model"]]):
        vocabulary.more["unknown_token_id"] = unknown
    if path.name == _SHIFTED:
        vocabulary.place((one for one in added if not vocabulary.is_unknown(one)), score=None)
    else:
        vocabulary.place(added)
    return vocabulary


def _unigram_keys(model: SentencePieceModel) -> dict[str, Any]:
    return {
        **{"model": "t5", "pre": "default", "add_space_prefix": model.add_space},
        "remove_extra_whitespaces": model.merge_spaces,
        **({"precompiled_charsmap": array("b", model.charsmap)} if model.charsmap else {}),
    }


def _bpe_keys(folder: Path, model: SentencePieceModel) -> dict[str, Any]:
    given = read_json_if_there(folder / "tokenizer_config.json").get("add_prefix_space")
    prefix = given if isinstance(given, bool) else model.add_space
    unsaid = prefix and not isinstance(given, bool)  # as every reader takes it to be
    return {"model": "llama", "pre": "default", **({} if unsaid else {"add_space_prefix": prefix})}
