"""Probabilities of tokens as llama-server tells them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pacos.types import TokenScore

if TYPE_CHECKING:
    from pacos.llm import LLM

_LEAST = -3.4028234663852886e38  # JSON has no infinity; llama-server says the least float


def probabilities(llm: LLM, scores: Iterable[TokenScore], *, drawn_from: bool) -> list[dict[str, Any]]:
    """Each token with its log-probability and the likeliest ones; `drawn_from`: probabilities after all samplers."""
    name = "top_probs" if drawn_from else "top_logprobs"
    return [
        {
            **_token(llm, one.token, one.logprob, drawn_from),
            name: [_token(llm, *likely, drawn_from) for likely in one.top],
        }
        for one in scores
    ]


def _token(llm: LLM, token: int, logprob: float, drawn_from: bool) -> dict[str, Any]:
    piece = llm.tokenizer.piece(token, special=True)
    value = {"prob": math.exp(logprob)} if drawn_from else {"logprob": max(logprob, _LEAST)}
    return {"id": token, "token": piece.decode(errors="replace"), "bytes": list(piece), **value}
