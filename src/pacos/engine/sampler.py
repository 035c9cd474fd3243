"""Choose tokens from logits, natively; ir/ops/sampling.py defines what each stage does.

Shapes: V vocabulary entries, one row of f32 logits.
"""

from __future__ import annotations

import ctypes
import math
import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pacos import native
from pacos.errors import NativeError, NoTokenLeft, NumericalError, PacosError, UsageError
from pacos.native import address_of
from pacos.settings import SamplingOptions
from pacos.types import TokenScore

# Numbers of the stages in sampler.cpp.
_STAGES = {
    **{"penalties": 0, "top_k": 1, "typ_p": 2, "top_p": 3, "min_p": 4, "temperature": 5, "dry": 6, "top_n_sigma": 7},
    **{"xtc": 8, "tfs_z": 9, "top_a": 10, "adaptive_p": 11},
}
_WHOLE = ("top_k", "min_keep", "repeat_last_n", "dry_allowed_length", "dry_penalty_last_n", "mirostat")
_REAL = (
    *("temp", "dynatemp_range", "dynatemp_exponent", "top_p", "min_p", "typical_p", "top_n_sigma", "tfs_z", "top_a"),
    *("xtc_probability", "xtc_threshold", "repeat_penalty", "presence_penalty", "frequency_penalty"),
    *("dry_multiplier", "dry_base", "mirostat_tau", "mirostat_eta", "adaptive_target", "adaptive_decay"),
)
_ADDRESS = ctypes.c_void_p


class _Sampling(ctypes.Structure):
    _fields_ = (
        ("seed", ctypes.c_uint64),
        *((name, _ADDRESS) for name in ("bias_ids", "bias_values", "breaker_heads", "breaker_starts", "breaker_tails")),
        *((name, ctypes.c_int32) for name in ("bias_count", "breaker_count", "stage_count")),
        ("stages", ctypes.c_int32 * 32),
        *((name, ctypes.c_int32) for name in _WHOLE),
        *((name, ctypes.c_float) for name in _REAL),
    )


class _State(ctypes.Structure):
    _fields_ = (("position", ctypes.c_int64), ("before", ctypes.c_double * 2), ("after", ctypes.c_double * 2))


class _Report(ctypes.Structure):
    _fields_ = (
        *((name, _ADDRESS) for name in ("kept_ids", "kept_weights", "top_ids", "top_logs")),
        ("chosen_log", ctypes.c_double),
        ("kept_count", ctypes.c_int32),
        ("top_count", ctypes.c_int32),
    )


class SamplerScratch:
    """Working memory of one thread that samples rows of V logits."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        number = ctypes.c_int32
        arguments = (_ADDRESS, _ADDRESS, number, _ADDRESS, number, *[_ADDRESS] * 4)
        self.sample = native.function("pacos_sample", number, arguments)
        self.sample_rows = native.function("pacos_sample_rows", None, (_ADDRESS, number, number, _ADDRESS, _ADDRESS))
        self.score = native.function("pacos_score", number, (_ADDRESS, *[number] * 3, *[_ADDRESS] * 3))
        size = native.function("pacos_sample_scratch_bytes", ctypes.c_int64, (number,))(vocab_size)
        self._memory = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(self._memory)


class Sampler:
    """One sequence's way of choosing tokens.

    The choice is a function of logits, tokens before, mask, options, seed, and, for mirostat and adaptive-p alone, of
    two numbers that the choices before left. Those belong to the number of tokens: to ask again after as many tokens
    gives the same choice. So a sequence that was preempted, or runs beside others, gets the same text.
    """

    def __init__(
        self,
        options: SamplingOptions,
        scratch: SamplerScratch,
        banned: Iterable[int] = (),
        breakers: Iterable[Sequence[int]] = (),
    ) -> None:
        if options.seed < 0:
            options = replace(options, seed=int.from_bytes(os.urandom(4)))
        self.options = options
        self._scratch = scratch
        biases = {**dict(options.logit_bias), **dict.fromkeys(banned, -math.inf)}
        self._bias_ids = array("i", sorted(biases))
        self._bias_values = array("f", (biases[token] for token in self._bias_ids))
        if self._bias_ids and self._bias_ids[-1] >= scratch.vocab_size:
            named = next(token for token in self._bias_ids if token >= scratch.vocab_size)
            raise UsageError(f"logit_bias names token {named}", hint=f"the model has {scratch.vocab_size} tokens")
        in_order = sorted({tuple(one) for one in breakers if one})
        self._heads = array("i", (one[0] for one in in_order))
        self._starts, self._tails = array("i", [0]), array("i")
        for one in in_order:
            self._tails.extend(one[1:])
            self._starts.append(len(self._tails))
        self._native = self._filled()
        self.address = ctypes.addressof(self._native)
        self._state = _State(position=-1)
        self.state_address = ctypes.addressof(self._state)

    def _filled(self) -> _Sampling:
        stages = [_STAGES[name] for name in self.options.samplers]
        filled = _Sampling(
            seed=self.options.seed,
            bias_ids=self._bias_ids.buffer_info()[0],
            bias_values=self._bias_values.buffer_info()[0],
            bias_count=len(self._bias_ids),
            breaker_heads=self._heads.buffer_info()[0],
            breaker_starts=self._starts.buffer_info()[0],
            breaker_tails=self._tails.buffer_info()[0],
            breaker_count=len(self._heads),
            stage_count=len(stages),
            stages=(ctypes.c_int32 * 32)(*stages),
        )
        for name in (*_WHOLE, *_REAL):
            setattr(filled, name, getattr(self.options, name))
        return filled

    def next_token(self, logits: int, tokens: array[int], mask: memoryview | None = None) -> int:
        """The token after `tokens`, from the row of logits at this address; only one whose bit in the mask is set.

        Shapes: mask u32 [ceil(V / 32)]. Errors: NumericalError when a logit is NaN or infinite, every token is banned,
        or the mask allows none.
        """
        return self._sample(logits, tokens, mask, None)

    def next_scored(
        self, logits: int, tokens: array[int], count: int, mask: memoryview | None = None
    ) -> tuple[int, TokenScore]:
        """The same token, and its probability and the `count` likeliest after all stages. Errors: as `next_token`."""
        count = min(count, self._scratch.vocab_size)
        ids, logs = (ctypes.c_int32 * count)(), (ctypes.c_double * count)()
        report = _Report(top_ids=ctypes.addressof(ids), top_logs=ctypes.addressof(logs), top_count=count)
        chosen = self._sample(logits, tokens, mask, report)
        top = tuple(zip(ids[: report.top_count], logs[: report.top_count], strict=True))
        return chosen, TokenScore(chosen, report.chosen_log, top)

    def score(self, logits: int, token: int, count: int) -> TokenScore:
        """The log-probabilities that the model itself gives to a token and to the `count` likeliest.

        Errors: NumericalError when a logit is NaN or infinite, UsageError for an id outside the vocabulary.
        """
        scratch = self._scratch
        count = min(count, scratch.vocab_size)
        ids, logs = (ctypes.c_int32 * count)(), (ctypes.c_double * (count + 1))()
        found: int = scratch.score(logits, scratch.vocab_size, token, count, scratch.address, ids, logs)
        if found < 0:
            raise _failure(found, token=token, vocab_size=scratch.vocab_size)
        return TokenScore(token, logs[0], tuple(zip(ids[:found], logs[1 : found + 1], strict=True)))

    def candidates(
        self, logits: int, tokens: array[int], mask: memoryview | None = None
    ) -> tuple[int, list[int], list[float]]:
        """The token after `tokens`, and what it was drawn from: ids, ascending, and weights.

        This is how the chain is compared with its definition. Errors: as `next_token`.
        """
        size = self._scratch.vocab_size
        ids, weights = (ctypes.c_int32 * size)(), (ctypes.c_double * size)()
        report = _Report(kept_ids=ctypes.addressof(ids), kept_weights=ctypes.addressof(weights))
        chosen = self._sample(logits, tokens, mask, report)
        return chosen, list(ids[: report.kept_count]), list(weights[: report.kept_count])

    def _sample(self, logits: int, tokens: array[int], mask: memoryview | None, report: _Report | None) -> int:
        scratch = self._scratch
        where, count = tokens.buffer_info()
        allowed = None if mask is None else self._address_of_mask(mask)
        chosen: int = scratch.sample(
            *(self.address, logits, scratch.vocab_size, where, count, allowed, self.state_address, scratch.address),
            None if report is None else ctypes.addressof(report),
        )
        return checked_token(chosen, count)

    def _address_of_mask(self, mask: memoryview) -> int:
        needed = 4 * ((self._scratch.vocab_size + 31) // 32)
        if mask.nbytes != needed:
            raise UsageError(
                f"a constraint's mask has {mask.nbytes} bytes",
                hint=f"{needed} are needed for {self._scratch.vocab_size} tokens",
            )
        return address_of(mask)


def checked_token(token: int, count: int) -> int:
    """A token that was chosen after so many others. Errors: what a negative number in its place stands for."""
    if token < 0:
        raise _failure(token, f" after {count} tokens")
    return token


def _failure(code: int, where: str = "", token: int = -1, vocab_size: int = 0) -> PacosError:
    if code == -1:
        return NumericalError(f"the model gave a logit that is not a finite number{where}")
    if code == -2:
        return NoTokenLeft(f"every token is banned{where}", hint="the biases leave no token to choose")
    if code == -3:
        return UsageError(f"token {token} is not in the vocabulary", hint=f"use 0 to {vocab_size - 1}")
    if code == -4:
        return NoTokenLeft(f"the constraint allows no token{where}", hint="it cannot be met from here")
    if code == -5:
        return NativeError(f"out of memory while sampling{where}")
    return NativeError(f"sampling failed with code {code}")


def log_probabilities(rows: Any, tokens: Sequence[int]) -> list[float]:
    """Log-probability of one token per row of logits.

    Shapes: rows f32 [M * V] (any buffer), M token ids -> M numbers. Units: natural logarithm.
    Errors: NumericalError for a row that is not finite, UsageError for an id outside the vocabulary.
    """
    view = memoryview(rows).cast("B").cast("f")
    if not tokens:
        return []
    vocab_size = len(view) // len(tokens)
    function = native.function(
        "pacos_log_softmax_at", ctypes.c_int32, (_ADDRESS, ctypes.c_int32, _ADDRESS, ctypes.c_int32, _ADDRESS)
    )
    ids, results = array("i", tokens), array("d", bytes(8 * len(tokens)))
    start, wanted, out = address_of(view), ids.buffer_info()[0], results.buffer_info()[0]
    for row in range(len(tokens)):
        code = function(start + 4 * row * vocab_size, vocab_size, wanted + 4 * row, 1, out + 8 * row)
        if code < 0:
            raise _failure(code, token=tokens[row], vocab_size=vocab_size)
    return results.tolist()
