"""Sizes of recurrent layers, read from metadata under llama.cpp's key names and validated.

Source: llama.cpp's gguf-py constants (keys `ssm.*`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pacos.models.keys import Keys

_WIDTH_MAX = 1 << 20
_COUNT_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Recurrence:
    """State-space and linear-attention layers; 0 where the file says nothing.

    `inner` is the width inside a layer, `state` that of a state's row, `rank` the inner width of time steps (Mamba 1)
    or the number of heads (Mamba 2); heads of a group share what goes in and out.
    """

    inner: int = 0
    state: int = 0
    rank: int = 0
    groups: int = 0
    normed: bool = False  # time step, input and output are normalised (FalconMamba)

    @classmethod
    def from_keys(cls, keys: Keys) -> Recurrence:
        """Read and validate. Errors: FormatError naming key, value and range."""
        return cls(
            inner=keys.integer("ssm.inner_size", 0, _WIDTH_MAX, 0),
            state=keys.integer("ssm.state_size", 0, _WIDTH_MAX, 0),
            rank=keys.integer("ssm.time_step_rank", 0, _COUNT_MAX, 0),
            groups=keys.integer("ssm.group_count", 0, _COUNT_MAX, 0),
            normed=keys.truth("ssm.dt_b_c_rms", default=False),
        )
