from __future__ import annotations

from models.case import Case, small

CASES = {
    "bitnet": Case(
        small("BitNetForCausalLM", "bitnet", hidden_act="relu2", tie_word_embeddings=True),
        peer="has SiLU in the place of squared rectifiers",
    ),
    "bitnet-silu": Case(small("BitNetForCausalLM", "bitnet", tie_word_embeddings=True)),
}
