from __future__ import annotations

from models.case import Case, small

_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0, "factor": 1.0}
_HUNYUAN = ("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense")

CASES = {"hunyuan-dense": Case(small(*_HUNYUAN, rope_parameters=_DYNAMIC, pad_token_id=0))}
