"""What metadata says of a mixture of experts."""

from __future__ import annotations

from dataclasses import dataclass

from pacos.ir.ops.moe import SCORES
from pacos.models.keys import Keys

EXPERTS_MAX = 1 << 10
_SCALE_MAX = 1e6
_NUMBERED_SCORES = SCORES[:3]  # that files number, from 1


@dataclass(frozen=True, slots=True)
class Experts:
    """How a model chooses experts; see ops.route.

    `scale` multiplies all weights. Of several `groups` of experts, `groups_used` stay to choose from.
    """

    count: int
    used: int
    score: str
    normalise: bool
    scale: float
    groups: int = 1
    groups_used: int = 1
    group_best: int = 2

    @classmethod
    def read(cls, keys: Keys) -> Experts | None:
        """What the metadata says; None for a model without experts.

        Errors: FormatError naming key, value and range.
        """
        count = keys.integer("expert_count", 0, EXPERTS_MAX, 0)
        used = keys.integer("expert_used_count", 0, EXPERTS_MAX, 0)
        if used > count:
            raise keys.refuse("expert_used_count", f"at most {keys.name('expert_count')}, which is {count}")
        if count == 0:
            return None
        groups = keys.integer("expert_group_count", 0, count, 0) or 1
        groups_used = keys.integer("expert_group_used_count", 0, groups, 0) or groups
        if count % groups:
            raise keys.refuse("expert_group_count", f"a divisor of {keys.name('expert_count')}, {count}")
        if not 1 <= used <= count // groups * groups_used:
            raise keys.refuse("expert_used_count", f"a number from 1 to {count // groups * groups_used}")
        score = _NUMBERED_SCORES[keys.integer("expert_gating_func", 1, len(_NUMBERED_SCORES), 1) - 1]
        return cls(
            count,
            used,
            score,
            keys.truth("expert_weights_norm", default=False),
            keys.number("expert_weights_scale", 0, _SCALE_MAX, 0.0) or 1.0,  # 0 has always meant none
            groups,
            groups_used,
            1 if score == "softmax" else min(2, count // groups),  # DeepSeek V2 goes by a group's best, V3 by two
        )
