from __future__ import annotations

from models.case import Case, small

_APERTUS = ("ApertusForCausalLM", "apertus")

CASES = {"apertus": Case(small(*_APERTUS, hidden_act="xielu", head_dim=None, pad_token_id=0))}
