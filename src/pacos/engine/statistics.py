"""What an engine does now and has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """A look at an engine, taken between two of its moves; counters only grow.

    Units: tokens and pages. Computed tokens are those that went through the model, prompts and answers; reused tokens
    of prompts did not have to. A page is held by sequences, cached for its content, or free; restored ones came from
    the prompt cache on disk, saved ones went there. `stalled_seconds` have passed since a step ended, while there is
    work.
    """

    running: int
    waiting: int
    context_tokens: int
    page_tokens: int
    pages: int
    pages_held: int
    pages_cached: int
    pages_free: int
    steps: int
    sequences: int
    tokens_computed: int
    tokens_generated: int
    tokens_reused: int
    prompts_reused: int
    preemptions: int
    shifts: int
    pages_restored: int
    pages_saved: int
    stalled_seconds: float
