"""Log-probabilities of tokens in OpenAI's two forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pacos.types import TokenScore

if TYPE_CHECKING:
    from pacos.llm import LLM

_LEAST = -9999.0  # OpenAI's word for what is impossible; JSON has no infinity


def chat_scores(llm: LLM, scores: Iterable[TokenScore]) -> dict[str, Any] | None:
    """Scores as chat completions tell them; None when there are none."""
    content = token_scores(llm, scores)
    return {"content": content, "refusal": None} if content else None


def token_scores(llm: LLM, scores: Iterable[TokenScore]) -> list[dict[str, Any]]:
    """Each token with its log-probability and the likeliest ones in its place."""
    return [
        {**_token(llm, one.token, one.logprob), "top_logprobs": [_token(llm, *likely) for likely in one.top]}
        for one in scores
    ]


def _token(llm: LLM, token: int, logprob: float) -> dict[str, Any]:
    piece = llm.tokenizer.piece(token)
    return {"token": _text(piece), "logprob": max(logprob, _LEAST), "bytes": list(piece)}


def text_scores(llm: LLM, scores: Sequence[TokenScore | None], tokens: Sequence[int], start: int) -> dict[str, Any]:
    """Scores as completions tell them; the first token of a prompt has none. `start` is where the text begins.

    Units: offsets in characters.
    """
    texts = [_text(llm.tokenizer.piece(token)) for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(start)
        start += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [None if one is None else max(one.logprob, _LEAST) for one in scores],
        "top_logprobs": [None if one is None else _likeliest(llm, one) for one in scores],
        "text_offset": offsets,
    }


def _likeliest(llm: LLM, score: TokenScore) -> dict[str, float]:
    found = {_text(llm.tokenizer.piece(token)): max(logprob, _LEAST) for token, logprob in reversed(score.top)}
    return {_text(llm.tokenizer.piece(score.token)): max(score.logprob, _LEAST), **dict(reversed(found.items()))}


def _text(piece: bytes) -> str:
    """Bytes that are no whole character are written out, so that no two tokens look the same."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
