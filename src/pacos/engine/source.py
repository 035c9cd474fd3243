"""Sequences of encoder-decoders: an encoder reads the source at once, a decoder goes on from a token of its own.

A sequence's tokens are both, one after the other; its pages hold keys and values of the source for the decoder's layers
to look at, then those of what the decoder has written. So its cache is one like any other, and who asks the same again
takes the pages over. The source's begin a chain of pages of its own, which a source that only begins alike never meets.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from functools import partial

from pacos.engine.pages import PagePool
from pacos.engine.sequence import Sequence, SequenceRequest
from pacos.engine.snapshot import PromptCache
from pacos.errors import UsageError
from pacos.models import LOGITS


def with_start(request: SequenceRequest, start_token: int) -> tuple[SequenceRequest, int | None]:
    """The request as the engine computes it, and how many of its tokens are the decoder's; None when there is none.

    Errors: UsageError for an answer that would go on by forgetting its prompt.
    """
    if start_token < 0:
        return request, None
    if request.generate.context_policy == "shift":
        problem = "context_policy is shift, and an encoder-decoder does not write by forgetting what it has read"
        raise UsageError(problem, hint="use truncate or error")
    return replace(request, tokens=array("i", (*request.tokens, start_token))), 1


def decoded_tokens(start_token: int, tokens: int, source: int, result: str) -> int | None:
    """How many of the tokens whose rows are wanted are a decoder's; None when the model has no encoder beside it.

    Errors: UsageError for a source that the model cannot read, or none where it must.
    """
    if start_token < 0:
        if source:
            raise UsageError("this model has no encoder that reads a source", hint="put all tokens in one list")
        return None
    if result != LOGITS:
        return 0  # hidden states are the encoder's
    if not 0 < source < tokens:
        hint = "give it and what the decoder has written: logits(token_ids, source=...)"
        raise UsageError("this model writes about a source, and there is none", hint=hint)
    return tokens - source


def save_source(cache: PromptCache, pool: PagePool, sequence: Sequence) -> None:
    """Keep a sequence's source on disk, if all of it was read."""
    keys = _keys(cache, sequence) if sequence.reuse and sequence.computed >= sequence.source else []
    for place, (page, key) in enumerate(zip(sequence.pages, keys, strict=False)):
        cache.save(page, partial(pool.has_name, page, pool.name(page)), key, place)


def restore_source(cache: PromptCache, sequence: Sequence) -> bool:
    """Take a source from disk, whole; false when it is not there."""
    keys = _keys(cache, sequence) if sequence.reuse else []
    if not keys or not all(map(cache.has, keys)):
        return False
    if cache.restore(keys, sequence.pages[: len(keys)], 0) < len(keys):
        return False
    sequence.computed = sequence.source
    if not sequence.answered:
        sequence.cached_tokens = sequence.source
    return True


def _keys(cache: PromptCache, sequence: Sequence) -> list[bytes]:
    keys: list[bytes] = []
    cache.add_keys(keys, sequence.salt, sequence.tokens[: sequence.source], partly=True)
    return keys
