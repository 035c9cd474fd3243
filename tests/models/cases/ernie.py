from __future__ import annotations

from models.case import Case, small

CASES = {"ernie4_5": Case(small("Ernie4_5ForCausalLM", "ernie4_5", use_bias=False, pad_token_id=0))}
