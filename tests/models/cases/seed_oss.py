from __future__ import annotations

from models.case import Case, small

CASES = {"seed_oss": Case(small("SeedOssForCausalLM", "seed_oss", attention_bias=True, attention_out_bias=False))}
