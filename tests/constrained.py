"""Follow constraints without a model: what they allow, and answers drawn blindly from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

from vocabularies import CONTROL, byte_level

from pacos.formats import open_archive
from pacos.hub.names import resolve
from pacos.text.grammar import GrammarVocabulary
from pacos.text.reasoning import KINDS, Constraint
from pacos.text.tokenizer import Tokenizer
from pacos.text.tools import all_formats


@cache
def plain() -> Tokenizer:
    """The storyteller's vocabulary, in which every marker is text."""
    return Tokenizer.from_metadata(open_archive(resolve("storyteller")).metadata)


@cache
def marked() -> Tokenizer:
    """A vocabulary in which every marker is a control token."""
    metadata = dict(byte_level("llama-bpe")[0])
    formats = [(*form.openers, *form.markers) for form in all_formats().values()]
    names = {marker for markers in [*formats, *(kind.markers for kind in KINDS)] for marker in markers}
    single = sorted(name for name in names if name.count("|>") < 2 and name[0] in "<[" and name[-1] in ">]")
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], *single]
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], *[CONTROL] * len(single)]
    return Tokenizer.from_metadata(metadata)


@cache
def grammars(tokenizer: Callable[[], Tokenizer], extra: int = 0) -> GrammarVocabulary:
    """The vocabulary for constraints; a model may have `extra` more logits than tokens."""
    return GrammarVocabulary(tokenizer(), tokenizer().vocab_size + extra)


def control_id(tokenizer: Tokenizer, text: str) -> int | None:
    """The id of a marker that is a control token."""
    token = tokenizer.find(text)
    return token if token is not None and tokenizer.is_control(token) else None


def allowed(constraint: Constraint) -> set[int]:
    """Tokens that may come next."""
    mask = constraint.mask()
    assert mask is not None
    return {32 * word + bit for word, bits in enumerate(mask) if bits for bit in range(32) if bits >> bit & 1}


def write(constraint: Constraint, tokenizer: Tokenizer, text: str) -> bool:
    """Write a text as far as it is allowed; whether all of it was."""
    for token in tokenizer.encode(text, add_special=False, parse_special=True):
        if token not in allowed(constraint):
            return False
        constraint.accept(token)
    return True


def babble(constraint: Constraint, tokenizer: Tokenizer, seed: int, hints: Sequence[str] = (), most: int = 3000) -> str:
    """An answer drawn blindly, which ends as soon as it may; now and then one of the hints is written."""
    dice, tokens = random.Random(seed), []
    ends = [tokenizer.encode(hint, add_special=False, parse_special=True) for hint in hints]
    while len(tokens) < most:
        choices = allowed(constraint)
        if choices & tokenizer.eog:
            data = b"".join(tokenizer.piece(token, special=True) for token in tokens)
            return data.decode("utf-8")
        chosen = dice.choice(ends) if ends and dice.random() < 0.3 else [dice.choice(sorted(choices))]
        for token in chosen:
            if token not in allowed(constraint):
                break
            tokens.append(token)
            constraint.accept(token)
    raise AssertionError(f"no end after {most} tokens")
