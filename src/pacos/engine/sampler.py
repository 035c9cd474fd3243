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
from pacos.errors import NativeError, NumericalError, PacosError, UsageError
from pacos.native import address_of
from pacos.settings import SamplingOptions

# Numbers of the stages in sampler.cpp.
_STAGES = {"penalties": 0, "top_k": 1, "typ_p": 2, "top_p": 3, "min_p": 4, "temperature": 5}
_ADDRESS = ctypes.c_void_p


class _Sampling(ctypes.Structure):
    _fields_ = (
        ("seed", ctypes.c_uint64),
        ("bias_ids", _ADDRESS),
        ("bias_values", _ADDRESS),
        ("bias_count", ctypes.c_int32),
        ("stage_count", ctypes.c_int32),
        ("stages", ctypes.c_int32 * 32),
        ("top_k", ctypes.c_int32),
        ("repeat_last_n", ctypes.c_int32),
        ("temp", ctypes.c_float),
        ("top_p", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("typical_p", ctypes.c_float),
        ("repeat_penalty", ctypes.c_float),
        ("presence_penalty", ctypes.c_float),
        ("frequency_penalty", ctypes.c_float),
    )


class SamplerScratch:
    """Working memory of one thread that samples rows of V logits."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        arguments = (_ADDRESS, _ADDRESS, ctypes.c_int32, _ADDRESS, ctypes.c_int32, *[_ADDRESS] * 4)
        self.sample = native.function("pacos_sample", ctypes.c_int32, arguments)
        size = native.function("pacos_sample_scratch_bytes", ctypes.c_int64, (ctypes.c_int32,))(vocab_size)
        self._memory = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(self._memory)


class Sampler:
    """One sequence's way of choosing tokens.

    It keeps no state between tokens: the choice is a function of logits, tokens before, options and seed. So a
    sequence that was preempted, or runs beside others, gets the same text.
    """

    def __init__(self, options: SamplingOptions, scratch: SamplerScratch, banned: Iterable[int] = ()) -> None:
        if options.seed < 0:
            options = replace(options, seed=int.from_bytes(os.urandom(4)))
        self.options = options
        self._scratch = scratch
        biases = {**dict(options.logit_bias), **dict.fromkeys(sorted(banned), -math.inf)}
        self._bias_ids = array("i", biases)
        self._bias_values = array("f", biases.values())
        for token in self._bias_ids:
            if token >= scratch.vocab_size:
                raise UsageError(f"logit_bias names token {token}", hint=f"the model has {scratch.vocab_size} tokens")
        self._native = self._filled()
        self._address = ctypes.addressof(self._native)

    def _filled(self) -> _Sampling:
        options = self.options
        stages = [_STAGES[name] for name in options.samplers]
        filled = _Sampling(
            seed=options.seed,
            bias_ids=self._bias_ids.buffer_info()[0],
            bias_values=self._bias_values.buffer_info()[0],
            bias_count=len(self._bias_ids),
            stage_count=len(stages),
            stages=(ctypes.c_int32 * 32)(*stages),
        )
        for name in ("top_k", "repeat_last_n", "temp", "top_p", "min_p", "typical_p"):
            setattr(filled, name, getattr(options, name))
        for name in ("repeat_penalty", "presence_penalty", "frequency_penalty"):
            setattr(filled, name, getattr(options, name))
        return filled

    def next_token(self, logits: int, tokens: array[int]) -> int:
        """The token after `tokens`, from the row of logits at this address.

        Errors: NumericalError when a logit is NaN or infinite, or every token is banned.
        """
        scratch = self._scratch
        where, count = tokens.buffer_info()
        chosen: int = scratch.sample(
            self._address, logits, scratch.vocab_size, where, count, scratch.address, None, None, None
        )
        if chosen < 0:
            raise _failure(chosen, f" after {count} tokens")
        return chosen

    def candidates(self, logits: int, tokens: array[int]) -> tuple[int, list[int], list[float]]:
        """The token after `tokens`, and what it was drawn from: ids and weights, in order.

        This is how the chain is compared with its definition, and how top probabilities can be told.
        Errors: as `next_token`.
        """
        scratch = self._scratch
        ids = (ctypes.c_int32 * scratch.vocab_size)()
        weights = (ctypes.c_double * scratch.vocab_size)()
        kept = ctypes.c_int32(0)
        where, count = tokens.buffer_info()
        chosen: int = scratch.sample(
            self._address, logits, scratch.vocab_size, where, count, scratch.address, ids, weights, ctypes.byref(kept)
        )
        if chosen < 0:
            raise _failure(chosen)
        return chosen, list(ids[: kept.value]), list(weights[: kept.value])


def _failure(code: int, where: str = "") -> PacosError:
    if code == -1:
        return NumericalError(f"the model gave a logit that is not a finite number{where}")
    if code == -2:
        return NumericalError(f"every token is banned{where}", hint="the biases leave no token to choose")
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
        if code == -3:
            raise UsageError(f"token {tokens[row]} is not in the vocabulary", hint=f"use 0 to {vocab_size - 1}")
        if code < 0:
            raise _failure(code)
    return results.tolist()
